"""The composition root: settings become a database, services, an application and a runner."""

from __future__ import annotations

import logging
import threading
from typing import Any

import falcon

from pileus import identity, image
from pileus.api import app
from pileus.api.service import Service
from pileus.db import Database
from pileus.identity.keys import KeyRing
from pileus.identity.tokens import Tokens
from pileus.image import store
from pileus.operations.agents import AgentLink
from pileus.operations.runner import Runner
from pileus.settings import Settings

log = logging.getLogger(__name__)
HOUSEKEEPING_S = 30.0


class Cloud:
    """One replica's parts, wired."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.settings, self.db = settings, db
        self.keys = KeyRing(db, settings.token_rotation_s, settings.token_lifetime_s)
        self.tokens = Tokens(self.keys, settings.token_lifetime_s)
        self.authenticate = self.tokens.caller
        self.link = AgentLink(settings.agent_socket, settings.host_down_s)
        self.runner = Runner(db, settings.state, settings.runner_threads, self.link.send)
        self.services = services(settings)
        self._stopping = threading.Event()

    def application(self) -> falcon.App[Any, Any]:
        """The WSGI application of every API."""
        return app.build(self, self.services)

    def start(self) -> None:
        """Begin to carry out operations and to keep house."""
        with self.db.write() as session:
            store.recover(session, self.settings.images)
        self.link.on_answer = self.runner.answer
        self.runner.start()
        self.link.start()
        threading.Thread(target=self._keep_house, daemon=True, name="housekeeping").start()

    def stop(self) -> None:
        """Stop between steps."""
        self._stopping.set()
        self.link.stop()
        self.runner.stop()
        self.db.dispose()

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_S):
            try:
                with self.db.write() as session:
                    self.keys.rotate(session)
            except Exception:
                log.exception("housekeeping failed; trying again")


def services(settings: Settings) -> list[Service]:
    """Every API that is served."""
    return [identity.service(settings), image.service(settings)]
