"""The composition root: settings become a database, services, an application and a runner."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from pileus import clock, compute, identity, image, membership, network, placement
from pileus.addresses import host_port, reached_at
from pileus.agent.commands import NORTHBOUND_PORT, AgentReport, Answer, GuestEvent, Progress
from pileus.api import app, quota_uses
from pileus.api.app import Application
from pileus.api.service import Service
from pileus.compute import actions, hosts, live_moves
from pileus.compute.actions import shelve
from pileus.compute.actions.confirm import confirm_due
from pileus.compute.model import Server
from pileus.db import Database, Session, in_chunks
from pileus.errors import Unavailable
from pileus.identity.keys import KeyRing
from pileus.identity.logins import Logins
from pileus.identity.tokens import Tokens
from pileus.image import store
from pileus.membership import agents as joined
from pileus.membership.members import Members
from pileus.network import sync
from pileus.network.northbound.base import Northbound
from pileus.network.northbound.fake import FakeNorthbound
from pileus.operations import OperationRow, journal, leases
from pileus.operations.agents import Agents
from pileus.operations.collector import PREFIX, Collector
from pileus.operations.loops import Loops
from pileus.operations.notifications import Delivery
from pileus.operations.owed import KNOWN
from pileus.operations.post import Post
from pileus.operations.questions import Questions
from pileus.operations.registry import Registry
from pileus.operations.retention import forget
from pileus.operations.runner import Runner
from pileus.settings import Settings, split_address
from pileus.stock import Stock

T = TypeVar("T")
log = logging.getLogger(__name__)
HOUSEKEEPING_S = 30.0
HEARTBEAT_S = 8.0
GREETING_S = 3.0
"""How long a start waits for the hosts that the first request may want to boot on."""
COMPARE_S = 300.0
"""How often the network's database is compared with the ports it should have."""


class Cloud:
    """One replica's parts, wired."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self.settings, self.db = settings, db
        self.keys = KeyRing(db, settings.token_rotation_s, settings.token_lifetime_s)
        self.tokens = Tokens(self.keys, settings.token_lifetime_s, settings.allow_rescope_scoped_token)
        self.logins = Logins(settings)
        self.authenticate = self.tokens.caller
        self.northbound = northbound(settings)  # `start` may know better
        self.post = Post()
        known = registry()
        self.runner = Runner(db, settings.replica_id, self.post, hosts.down, known)
        self.collector = Collector(db, self.post.offer, lambda change: change(self.northbound), known)
        self.loops = Loops(self.runner, self.collector, settings.runner_threads)
        self._hearing = Hearing(db, self.runner, self.collector)
        self.members = Members(db, settings)
        self.agents = Agents(self.post, self._hearing, self.members, Stock(db, settings, self.post))
        self.services = services(settings)
        self.delivery = Delivery(db, settings.directory / "notifications" / "versioned.jsonl")
        self._parts: dict[type, Any] = {
            Tokens: self.tokens,
            Logins: self.logins,
            Questions: Questions(self.members),
        }
        self._stopping = threading.Event()
        self._compared = clock.monotonic()

    def application(self) -> Application:
        """The WSGI application of every API."""
        return app.build(self, self.services)

    def start(self) -> None:
        """Begin to carry out operations and to keep house; back when an agent has said which hosts there are."""
        with self.db.write() as session:
            self._choose_northbound(session)
            self._share_images(session)
            store.recover(session, self.settings.images)
        self.loops.start()
        self.agents.start()
        self.delivery.start()
        threading.Thread(target=self._keep_house, daemon=True, name="housekeeping").start()
        if self.settings.role == "cloud":
            self._hearing.heard.wait(GREETING_S)

    def _choose_northbound(self, session: Session) -> None:
        """Every replica pays what the network is owed, to the database that all of them use.

        Raises:
            Unavailable: this replica, or others that run, would use another.
        """
        session.lock("membership")  # replicas that start at the same time know of each other
        settings, central = self.settings, joined.central(session)
        name = settings.name or socket.gethostname()
        if central is not None and settings.role == "cloud" and (central.name, settings.network) != (name, "ovn"):
            raise Unavailable(
                f"OVN's central is on {central.name}: `pileus replica` and `pileus agent` are what other machines run."
            )
        if central is None and settings.network == "ovn" and leases.alive(session, but=settings.replica_id):
            raise Unavailable("The replicas that run serve simulated networks: stop them, and start this one first.")
        if central is not None and settings.role == "replica":
            self.northbound = ovn_northbound(self.members.dial_northbound)
        leases.renew(session, settings.replica_id)
        if settings.role == "cloud":
            self._enter_own_agent(session, name)

    def _share_images(self, session: Session) -> None:
        """Raises Unavailable: other replicas keep images in another folder, where this one would not find them."""
        if not leases.share_images(session, self.settings.replica_id, store.identify(self.settings.images)):
            raise Unavailable(
                f"The replicas that run keep images in another folder than {self.settings.images}: "
                "`--image-folder` names the one that all share."
            )

    def _enter_own_agent(self, session: Session, name: str) -> None:
        """The agent of this machine belongs to the cloud without having joined."""
        settings = self.settings
        hosts_of_it = "fake-*" if settings.hypervisor == "fake" else name
        host = reached_at(split_address(settings.agent_listen or settings.listen)[0])
        northbound = host_port(host, NORTHBOUND_PORT) if settings.network == "ovn" else ""
        joined.enter_own(session, name, hosts_of_it, settings.replica_id, northbound)

    def stop(self) -> None:
        """Stop between steps."""
        self._stopping.set()
        self.agents.stop()
        self.loops.stop()
        self.delivery.stop()
        self.northbound.close()
        self.logins.close()
        self.db.dispose()

    def part(self, kind: type[T]) -> T:
        """One of the parts that requests use, by its class."""
        found: T = self._parts[kind]
        return found

    def _keep_house(self) -> None:
        while not self._stopping.wait(HOUSEKEEPING_S):
            for chore in (
                self._rotate_keys,
                self._purge,
                self._settle_quotas,
                self._sweep_images,
                self._offload,
                self._confirm_moves,
                self._compare_network,
            ):
                try:
                    chore()
                except Exception:
                    log.exception("housekeeping failed; trying again")

    def _rotate_keys(self) -> None:
        with self.db.write() as session:
            self.keys.rotate(session)

    def _compare_network(self) -> None:
        if self.northbound.kind == "fake" and self.settings.shared_database:
            return  # what one replica remembers is what it wrote itself
        if clock.monotonic() - self._compared > COMPARE_S:
            self._compared = clock.monotonic()
            recorded = self.northbound.recorded_ports()  # before the transaction: it may take seconds
            with self.db.write() as session:
                sync.reconcile(session, recorded)

    def _settle_quotas(self) -> None:
        quota_uses.settle_all(self.db)

    def _confirm_moves(self) -> None:
        confirm_due(self.db, self.settings.resize_confirm_window)

    def _sweep_images(self) -> None:
        with self.db.read() as session:
            store.sweep(session, self.settings.images)

    def _offload(self) -> None:
        with self.db.read() as session:
            overdue = shelve.overdue(session, self.settings.shelved_offload_time)
        for server_id in overdue:
            with self.db.write() as session:
                shelve.offload(session, server_id)

    def _purge(self) -> None:
        settings = self.settings
        purge(self.db, settings.keep_operations_s, settings.keep_deleted_s, self._stopping.is_set)


class Hearing:
    """What this replica makes of what agents say (post.Listener)."""

    def __init__(self, db: Database, runner: Runner, collector: Collector) -> None:
        self._db, self._runner, self._collector = db, runner, collector
        self._noted: dict[str, float] = {}
        self.heard = threading.Event()
        """Set once there was a report."""

    def report(self, report: AgentReport, asked: datetime) -> None:
        for some in hosts.portions(report.hosts):
            with self._db.write() as session:
                hosts.register(session, msgspec.structs.replace(report, hosts=tuple(some)), asked)
        with self._db.write() as session:
            joined.note_addresses(session, report.name, report.address, report.southbound)
        self.heard.set()

    def alive(self, names: list[str]) -> None:
        """A sign of life is written down only now and then."""
        now = clock.monotonic()
        if names and now - self._noted.get(names[0], -HEARTBEAT_S) >= HEARTBEAT_S:
            for some in in_chunks(names, hosts.SIGNS_OF_LIFE):
                with self._db.write() as session:
                    hosts.heard_of(session, some)
            self._noted[names[0]] = now

    def answer(self, answer: Answer) -> None:
        if answer.key.startswith(f"{PREFIX}:"):
            self._collector.answer(answer)
        else:
            self._runner.answer(answer)

    def guest(self, event: GuestEvent) -> None:
        with self._db.write() as session:
            hosts.observe(session, event)

    def progress(self, progress: Progress) -> None:
        with self._db.write() as session:
            journal.show_progress(session, progress)
            live_moves.show_progress(session, progress)


def purge(db: Database, operations_s: float, deleted_s: float, enough: Callable[[], bool] = lambda: False) -> int:
    """Forget finished operations and deleted servers that are older than that (0: never); returns how many rows.

    A transaction forgets a few, so that nobody waits long for it.

    Args:
        enough: asked before each transaction; the rest is left for the next time.
    """
    total = 0
    while not enough():
        with db.write() as session:
            rows = forget(session, OperationRow.finished_at, operations_s) if operations_s else 0
            rows += forget(session, Server.deleted_at, deleted_s) if deleted_s else 0
        if not rows:
            break
        total += rows
    return total


def registry() -> Registry:
    """All that this release can carry out."""
    return Registry(actions.FLOWS, KNOWN.values())


def northbound(settings: Settings) -> Northbound:
    """The driver of the network's database."""
    if settings.network != "ovn":
        return FakeNorthbound()
    return ovn_northbound(settings.northbound)


def ovn_northbound(server: str | Callable[[], ssl.SSLSocket]) -> Northbound:
    """OVN's, at an OVSDB remote or over a connection to it."""
    from pileus.network.northbound.ovn import OvnNorthbound

    return OvnNorthbound(server)


def services(settings: Settings) -> list[Service]:
    """Every API that is served."""
    return [module.service(settings) for module in (identity, compute, placement, image, network, membership)]
