"""The process that everything else descends from: starts what its machine is to be (a whole cloud, a replica of one, an
agent of one), restarts what dies, ends all in order."""

from __future__ import annotations

import gc
import http.client
import json
import logging
import os
import pwd
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pileus import bootstrap, holds, logs, replica
from pileus.agent import main as agent
from pileus.agent.errors import CommandFailed
from pileus.agent.images import CacheLimits
from pileus.cloud import services
from pileus.db import Database
from pileus.db.migrate import upgrade
from pileus.edge.certificate import trusting
from pileus.files import write_private
from pileus.identity.bootstrap import USERS
from pileus.operations.wires import Local, Question
from pileus.settings import PUBLIC_GATEWAY, Settings, split_address
from pileus.statedir import StartFailed, credentials_file, keep_guests, lay_out, log_file
from pileus.users import give_folder, run_as, system_user

log = logging.getLogger(__name__)
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
RESTART_PAUSE_S = 0.3
BACKLOG = 1024
"""Connections that the kernel keeps for us while we are busy."""
Progress = Callable[[str], None]


class Child:
    """A forked process that tells its progress through a pipe.

    Args:
        folder: its pid is noted there, in `NAME.pid`.
    """

    def __init__(self, name: str, folder: Path, work: Callable[[Progress], None]) -> None:
        self.name, self._work = name, work
        self._pidfile = folder / f"{name}.pid"
        self.pid = 0
        self.ready = False
        self._reader = -1
        self._rest = b""

    def start(self) -> None:
        self._reader, writer = os.pipe()
        self.ready = False
        sys.stdout.flush()
        gc.freeze()  # what there is stays shared: a child's collections do not look at it, which would write to it
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reader)
            self._live(writer)
        os.close(writer)
        self._pidfile.write_text(str(self.pid))

    def _live(self, writer: int) -> None:
        """The child's whole life."""
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the supervisor's to answer, in order

        def tell(line: str) -> None:
            os.write(writer, f"{line}\n".encode())

        status = 1
        try:
            self._work(tell)
            status = 0
        except CommandFailed as error:
            tell(f"failed {self.name}: {error.message}")
        except Exception as error:
            log.exception("%s ended", self.name)
            tell(f"failed {self.name}: {error}")
        finally:
            logging.shutdown()
            os._exit(status)

    def ended(self) -> bool:
        """Whether its process has ended; asked of one that was started."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def lines(self, timeout_s: float) -> list[str]:
        """What the child told since the last call."""
        if self._reader < 0 or not select.select([self._reader], [], [], timeout_s)[0]:
            return []
        data = os.read(self._reader, 65536)
        if not data:
            os.close(self._reader)
            self._reader = -1
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in whole]


class Supervisor:
    """What of one cloud is on this machine.

    Args:
        settings: of the cloud. listener: bound to the APIs' address; None where there are none.
        progress: told in words what is being started.
    """

    def __init__(self, settings: Settings, listener: socket.socket | None, progress: Progress) -> None:
        self._settings, self._progress = settings, progress
        self._root = os.geteuid() == 0
        settings.hypervisor = agent.choose_hypervisor(settings.hypervisor)
        settings.network = agent.choose_network(settings.network, settings.hypervisor)
        self._pids = settings.directory / "run"
        self._agent = [Child("agent", self._pids, self._run_agent)] if settings.role != "replica" else []
        self._conductor, self._workers = self._replica(listener) if listener else ([], [])
        self._stopping = False

    def _replica(self, listener: socket.socket) -> tuple[list[Child], list[Child]]:
        """The process that carries operations out, and those that answer requests."""
        settings = self._settings
        passwords = _first_passwords(settings)
        hear, ring = os.pipe()
        conductor = Child("conductor", self._pids, lambda tell: replica.conduct(settings, passwords, hear, tell))
        workers = [
            Child(f"api-{number}", self._pids, lambda tell: replica.answer(settings, listener, ring, tell))
            for number in range(1, (settings.api_workers or os.cpu_count() or 1) + 1)
        ]
        return [conductor], workers

    def start(self) -> None:
        """Bring everything up.

        Raises:
            StartFailed: a part did not start; nothing is left running.
        """
        try:
            if self._conductor:
                services(self._settings)  # import all of it before anything is forked, for the memory and for the user
                self._upgrade_database()
            deadline = time.monotonic() + START_TIMEOUT_S
            self._begin([*self._agent, *self._conductor], deadline)
            self._begin(self._workers, deadline)
            if self._conductor:
                self._learn_passwords()
                _await_apis(self._settings, deadline)
        except BaseException:
            self.stop(keep_guests=True, keep_engines=False)
            raise

    def _begin(self, children: list[Child], deadline: float) -> None:
        for child in children:
            child.start()
        while late := [child for child in children if not child.ready]:
            for child in late:
                self._listen(child)
            if time.monotonic() > deadline:
                names = " and ".join(child.name for child in late)
                raise StartFailed(f"{names} did not start within {START_TIMEOUT_S:g} s")

    def _upgrade_database(self) -> None:
        """Before the replica, whose user need not be able to read the migrations' files; as that user all the same:
        the folder of the database is that user's, and root opens nothing in it."""
        folder, user = self._settings.directory / "db", self._settings.replica_user
        try:
            if self._root:
                give_folder(folder, pwd.getpwnam(user))  # what earlier releases left as root's
            done = self._in_database(
                lambda db: f"{db.engine.dialect.name}, {upgrade(db, folder / 'backups') or 'created'}"
            )
            self._progress(f"database: {done}")
        except Exception as error:
            log.exception("the database cannot be used")
            raise StartFailed(f"database: {error}") from error

    def _in_database(self, work: Callable[[Database], str]) -> str:
        """What is said of the database, as the user that serves."""

        def whole() -> str:
            db = Database(self._settings.database_url, pool_size=1)
            try:
                return work(db)
            finally:
                db.dispose()

        return run_as(self._settings.replica_user, whole) if self._root else whole()

    def _learn_passwords(self) -> None:
        """Where replicas share a database, the first of them drew the passwords for all."""
        if self._settings.shared_database:
            known = json.loads(self._in_database(lambda db: json.dumps(bootstrap.first_passwords(db))))
            if known:
                write_private(credentials_file(self._settings), json.dumps(known).encode())

    def _listen(self, child: Child) -> None:
        for line in child.lines(0.05):
            if line == "ready":
                child.ready = True
            elif line.startswith("failed "):
                raise StartFailed(line.removeprefix("failed "))
            else:
                self._progress(line)
        if not child.ready and os.waitpid(child.pid, os.WNOHANG)[0]:
            raise StartFailed(f"{child.name} ended while it started; see {log_file(self._settings)}")

    def watch(self) -> None:
        """Restart what dies, until SIGTERM or SIGINT."""
        signal.signal(signal.SIGTERM, self._asked_to_stop)
        signal.signal(signal.SIGINT, self._asked_to_stop)
        while not self._stopping:
            logs.rotate(log_file(self._settings), self._settings.log_max_mib << 20, self._settings.log_keep)
            children = [*self._agent, *self._conductor, *self._workers]
            for child in children:
                for line in child.lines(0.5 / len(children)):
                    child.ready |= line == "ready"
                    log.info("%s: %s", child.name, line)
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if pid and not self._stopping:
                    log.error("%s ended with status %d; starting it again", child.name, status)
                    time.sleep(RESTART_PAUSE_S)
                    child.start()
        self.stop(keep_guests(self._settings))

    def _asked_to_stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def stop(self, keep_guests: bool, keep_engines: bool = True) -> None:
        """Orderly: the APIs first, then the guests and their engines, then the agent."""
        self._end(*self._workers, *self._conductor)
        if not keep_guests:
            self._await_agent()
        if any(one.ready for one in self._agent):
            try:
                connection = Question(Local(self._settings.agent_socket), STOP_TIMEOUT_S)
                connection.request("POST", "/stop", json.dumps({"keep_guests": keep_guests and keep_engines}))
                connection.getresponse().read()
            except (OSError, http.client.HTTPException):
                log.exception("the agent did not stop in order")
        self._end(*self._agent)

    def _await_agent(self) -> None:
        """One that died lately is needed once more: nobody else can end guests and their engines."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for child in self._agent:
            if child.ended():
                child.start()
            while not (child.ready or child.ended()) and time.monotonic() < deadline:
                child.ready |= "ready" in child.lines(0.05)

    def _end(self, *children: Child) -> None:
        """All of them at once: in order, and if that takes too long, not in order."""
        left = [child for child in children if child.pid]
        for sig in (signal.SIGTERM, signal.SIGKILL):
            for child in left:
                with suppress(ProcessLookupError):
                    os.kill(child.pid, sig)
            deadline = time.monotonic() + 15
            while left and time.monotonic() < deadline:
                left = [child for child in left if not child.ended()]
                time.sleep(0.02)

    def _run_agent(self, tell: Progress) -> None:
        replica.die_with_parent()
        settings = self._settings
        agent.run(
            agent.AgentSettings(
                state=settings.directory / "agent",
                name=settings.name or socket.gethostname(),
                socket=settings.agent_socket,
                listen=split_address(settings.agent_listen) if settings.agent_listen else (settings.address[0], 0),
                alone=settings.alone,
                group=settings.replica_user if self._root and settings.role == "cloud" else None,
                hypervisor=settings.hypervisor,
                network=settings.network,
                fake_hosts=settings.fake_hosts,
                fake_suffix=f".{settings.name}" if settings.role == "agent" else "",
                outbound=PUBLIC_GATEWAY if settings.outbound_nat else None,
                northbound=settings.directory / "run" / "northbound.sock",
                southbound=settings.southbound,
                tunnel_device=settings.tunnel_device,
                user=self._guest_user(),
                store=settings.images if settings.role == "cloud" else None,
                cache=CacheLimits(
                    keep_s=settings.image_cache_keep_s,
                    most_bytes=settings.image_cache_mib << 20,
                    reserve_bytes=settings.host_reserve_mib << 20,
                ),
            ),
            tell,
        )

    def _guest_user(self) -> str | None:
        """Whom guests run as; KVM belongs to the group kvm where there is one."""
        if not self._root or self._settings.hypervisor != "libvirt":
            return None
        return system_user(self._settings.guest_user, group="kvm").pw_name


def prepare(settings: Settings) -> socket.socket | None:
    """Lay out the state directory, enter the network namespace, and listen there for clients if there are to be any.

    Raises:
        StartFailed: the address is taken, or the namespace cannot be entered.
    """
    lay_out(settings)
    holds.watch(settings.directory)
    if settings.netns:
        enter_netns(settings.netns)
    listener = _listen(settings) if settings.role != "agent" else None
    return listener


def _listen(settings: Settings) -> socket.socket:
    """Replicas share the socket: one that is started again finds the clients that came meanwhile."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.address[0] else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(settings.address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartFailed(f"cannot listen on {settings.listen}: {error.strerror}") from error
    return listener


def enter_netns(name: str) -> None:
    """Move this process into a network namespace, made if it does not exist."""
    from pyroute2 import IPRoute, netns

    if name not in netns.listnetns():
        netns.create(name)
    netns.setns(name)
    with IPRoute() as routes:
        routes.link("set", index=routes.link_lookup(ifname="lo")[0], state="up")


def _await_apis(settings: Settings, deadline: float) -> None:
    """Until the port answers: every API is behind it."""
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(settings.address, timeout=1) as plain:
                connection = trusting().wrap_socket(plain) if settings.tls_cert else plain
                connection.sendall(b"GET /identity HTTP/1.0\r\nHost: localhost\r\n\r\n")
                if connection.recv(16).startswith(b"HTTP/1."):
                    return
        except OSError:
            time.sleep(0.01)
    raise StartFailed(f"the APIs do not answer on {settings.listen}")


def _first_passwords(settings: Settings) -> dict[str, str]:
    """The first users' passwords, drawn for those that have none yet."""
    path = credentials_file(settings)
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if known.keys() >= set(USERS):
        return known
    known = {name: known.get(name) or secrets.token_urlsafe(18) for name in USERS}
    write_private(path, json.dumps(known).encode())
    return known
