"""The agent's HTTP: what the agents of other hosts may ask of it, of a guest that goes there or comes from there."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pileus.agent import peers
from pileus.agent.errors import CommandFailed
from pileus.agent.server import Handler, number
from pileus.certificates import key_shown

log = logging.getLogger(__name__)


class PeerHandler(Handler):
    """GET /extents, /extent for the host that a guest moves to; /carry, /gone for the one that it comes from as it
    runs."""

    local = False
    connection: ssl.SSLSocket
    _carried = False
    """Whether the connection is another's by now."""

    def _is_ours(self) -> bool:
        return True  # the door has seen its certificate

    def _questions(self) -> dict[str, Callable[..., Any]]:
        return {"/extents": self._extents, "/extent": self._extent, "/carry": self._carry, "/gone": self._gone}

    def do_POST(self) -> None:
        """There is nothing to be told: what is said is not even read."""
        self.close_connection = True
        self._reply(404, {"code": "not-found", "message": self.path})

    @property
    def _key(self) -> str:
        """Of the agent that asks."""
        return key_shown(self.connection.getpeercert(True) or b"").decode()

    def _extents(self, server_id: str, file: str) -> Any:
        return peers.extents(self._disk(server_id, file))

    def _extent(self, server_id: str, file: str, first: str, length: str) -> Any:
        return peers.extent(self._disk(server_id, file), number(first), number(length))

    def _carry(self, server_id: str, way: str) -> Any:
        """From the answer 101 on the connection is the guest's."""

        def begin() -> None:
            self.close_connection = self._carried = True
            self.send_response_only(101)
            self.end_headers()

        try:
            self.agent.hypervisor.carry(self._asker, server_id, way, self.connection, begin, self._key)
        except (OSError, CommandFailed) as error:
            if not self._carried:
                raise CommandFailed("no-such-guest", "the guest is not awaited") from error
            log.warning("what is carried of guest %s breaks off: %s", server_id, error)
        return {}

    def _gone(self, server_id: str) -> Any:
        self.agent.hypervisor.gone(self._asker, server_id, self._key)
        return {}

    def _reply(self, status: int, body: Any) -> None:
        if not self._carried:
            super()._reply(status, body)

    def _disk(self, server_id: str, file: str) -> Path:
        return self.agent.hypervisor.handed_over(self._asker, server_id, file, self._key)
