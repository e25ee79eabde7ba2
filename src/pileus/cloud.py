"""The composition root: settings become a database, services, an application and a runner."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

import falcon

from pileus import compute, identity, image, network, placement
from pileus.agent.commands import AgentReport, GuestEvent
from pileus.api import app
from pileus.api.service import Service
from pileus.compute import flows as compute_flows
from pileus.compute import hosts
from pileus.db import Database
from pileus.identity.keys import KeyRing
from pileus.identity.tokens import Tokens
from pileus.image import store
from pileus.network.flows import sync as network_flows
from pileus.operations.agents import AgentLink
from pileus.operations.notifications import Delivery
from pileus.operations.runner import Runner
from pileus.settings import Settings

log = logging.getLogger(__name__)
FLOWS = (compute_flows, network_flows)
"""Importing them registers every kind of operation."""
HOUSEKEEPING_S = 30.0
HEARTBEAT_S = 15.0


class Cloud:
    """One replica's parts, wired."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.settings, self.db = settings, db
        self.keys = KeyRing(db, settings.token_rotation_s, settings.token_lifetime_s)
        self.tokens = Tokens(self.keys, settings.token_lifetime_s)
        self.authenticate = self.tokens.caller
        self.link = AgentLink(settings.agent_socket, settings.host_down_s)
        self.runner = Runner(db, settings.replica_id, settings.runner_threads, self.link.send)
        self.services = services(settings)
        self.delivery = Delivery(db, settings.directory / "notifications" / "versioned.jsonl")
        self._stopping = threading.Event()
        self._hosts: list[str] = []
        self._noted = 0.0

    def application(self) -> falcon.App[Any, Any]:
        """The WSGI application of every API."""
        return app.build(self, self.services)

    def start(self) -> None:
        """Begin to carry out operations and to keep house."""
        with self.db.write() as session:
            store.recover(session, self.settings.images)
        self.link.on_answer = self.runner.answer
        self.link.on_report = self._register
        self.link.on_alive = self._heard_of
        self.link.on_guest = self._observe
        self.runner.start()
        self.link.start()
        self.delivery.start()
        threading.Thread(target=self._keep_house, daemon=True, name="housekeeping").start()

    def stop(self) -> None:
        """Stop between steps."""
        self._stopping.set()
        self.link.stop()
        self.runner.stop()
        self.delivery.stop()
        self.db.dispose()

    def _register(self, report: AgentReport) -> None:
        self._hosts = [host.name for host in report.hosts]
        with self.db.write() as session:
            hosts.register(session, report)
            network_flows.retry(session, f"req-{uuid.uuid4()}")

    def _heard_of(self) -> None:
        if time.monotonic() - self._noted > HEARTBEAT_S:
            self._noted = time.monotonic()
            with self.db.write() as session:
                hosts.heard_of(session, self._hosts)

    def _observe(self, event: GuestEvent) -> None:
        with self.db.write() as session:
            hosts.observe(session, event)

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_S):
            try:
                with self.db.write() as session:
                    self.keys.rotate(session)
            except Exception:
                log.exception("housekeeping failed; trying again")


def services(settings: Settings) -> list[Service]:
    """Every API that is served."""
    return [module.service(settings) for module in (identity, compute, placement, image, network)]
