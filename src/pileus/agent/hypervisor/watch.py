"""Which of libvirt's news the control plane is told: changes that no command made."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pileus.agent.commands import State


class Watch:
    """Remembers the power state each guest is known to have, and tells of others.

    A guest changes its state several times while a command works on it (a reboot stops and starts it). None
    of that is news; the command's answer says how it ended. What happens right after is looked at once the
    command is over.

    Args:
        tell: called with server id and power state of a guest that changed outside of a command.
        again: asked to look at a guest again.
    """

    def __init__(self, tell: Callable[[str, State], None], again: Callable[[str], None]) -> None:
        self._tell = tell
        self._again = again
        self._lock = threading.Lock()
        self._known: dict[str, State] = {}
        self._commanded: Counter[str] = Counter()

    @contextmanager
    def command(self, server_id: str) -> Iterator[None]:
        """While a command works on a guest."""
        with self._lock:
            self._commanded[server_id] += 1
        try:
            yield
        finally:
            with self._lock:
                self._commanded -= Counter([server_id])
            self._again(server_id)

    def known(self, server_id: str, state: State | None) -> None:
        """The control plane knows, or is being told, that the guest is in this state (None: gone)."""
        with self._lock:
            if state is None:
                self._known.pop(server_id, None)
            else:
                self._known[server_id] = state

    def seen(self, server_id: str, state: State | None) -> None:
        """A guest was looked at because libvirt had news of it."""
        with self._lock:
            if self._commanded[server_id] or state is None or self._known.get(server_id) == state:
                return
            self._known[server_id] = state
        self._tell(server_id, state)
