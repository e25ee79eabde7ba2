"""The connection to libvirtd: one event loop thread, reconnection, and news of guests' power states."""

from __future__ import annotations

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import libvirt

from pileus.agent.commands import PowerState, State
from pileus.agent.errors import CommandFailed
from pileus.agent.hypervisor.libvirtd import Libvirtd

log = logging.getLogger(__name__)

_KEEPALIVE_S, _KEEPALIVE_MISSES = 5, 3
_WAITED_FOR = (libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, libvirt.VIR_DOMAIN_EVENT_ID_JOB_COMPLETED)
"""Events that are no news of a power state, but ends of what commands wait for."""
_PATH = re.compile(r"(?<![\w/])/[\w.+-]+(/[\w.+-]*)+")

_POWER_STATES: dict[int, State] = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    # The guest is on its way down, but what it stands for runs until it is off.
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}
_CRASHES = (libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, libvirt.VIR_DOMAIN_SHUTOFF_FAILED)


def power_state(state: int, reason: int) -> State:
    """PowerState of a domain's state and reason (virDomainGetState)."""
    if state == libvirt.VIR_DOMAIN_SHUTOFF and reason in _CRASHES:
        return PowerState.CRASHED
    return _POWER_STATES.get(state, PowerState.NOSTATE)


_loop_lock = threading.Lock()
_loop_started = False


def _start_event_loop() -> None:
    """libvirt has one event loop a process, and it must be registered before the first connection."""
    global _loop_started
    with _loop_lock:
        if _loop_started:
            return
        libvirt.virEventRegisterDefaultImpl()
        # libvirt prints every error on stderr by default; ours are raised or logged where they matter.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True).start()
        _loop_started = True


def _run_event_loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            log.exception("libvirt event loop")


class Connection:
    """A connection to `daemon` that is opened again, daemon included, when it breaks.

    Args:
        changed: called from a thread of its own with the server id of a guest about which libvirt had news.
        News say only that something happened; the state is read afterwards, so that late news never tell of
        an old state.
    """

    def __init__(self, daemon: Libvirtd, changed: Callable[[str], None]) -> None:
        self._daemon = daemon
        self._changed = changed
        self._lock = threading.RLock()
        self._open: Any = None
        self._news: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._moved = threading.Condition()
        self._moves = 0
        self._closing = threading.Event()

    def start(self) -> None:
        """Start the daemon if needed and connect.

        Raises:
            CommandFailed: libvirtd does not come up.
        """
        _start_event_loop()
        self._closing.clear()
        self.get()
        threading.Thread(target=self._deliver, name="libvirt-news", daemon=True).start()

    def get(self) -> Any:
        """The open `virConnect`."""
        with self._lock:
            if self._open is None or not self._open.isAlive():
                if self._closing.is_set():
                    raise CommandFailed("hypervisor", "the hypervisor is being stopped")
                self._drop()
                self._connect()
            return self._open

    def close(self) -> None:
        """Disconnect, and do not reconnect."""
        self._closing.set()
        self._news.put(None)
        with self._lock:
            self._drop()

    def tell(self, server_id: str) -> None:
        """Queue a look at a guest, as if libvirt had news of it."""
        self._news.put(server_id)

    def wait_for(self, done: Callable[[], bool], timeout_s: float, nudge: Callable[[], None] | None = None) -> bool:
        """Wait until `done()`, looked at whenever libvirt has news and at least once a second.

        Args:
            nudge: called every `NUDGE_S` seconds while waiting (to press a guest's power button again).

        Returns:
            False when `timeout_s` passed.
        """
        deadline = time.monotonic() + timeout_s
        next_nudge = time.monotonic() + NUDGE_S
        while True:
            with self._moved:
                seen = self._moves
            if done():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._await_news(seen, min(1.0, left))
            if nudge and time.monotonic() >= next_nudge:
                nudge()
                next_nudge = time.monotonic() + NUDGE_S

    def _await_news(self, seen: int, timeout_s: float) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._moves != seen, timeout_s)

    def _drop(self) -> None:
        if self._open is not None:
            with quiet():
                self._open.close()
            self._open = None

    def _connect(self) -> None:
        self._daemon.ensure()
        with said_by_libvirt():
            connection = libvirt.open(self._daemon.uri)
            connection.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_MISSES)
            connection.registerCloseCallback(self._on_close, None)
            connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None)
            for event in _WAITED_FOR:
                connection.domainEventRegisterAny(None, event, self._on_move, None)
            for domain in connection.listAllDomains():
                self._news.put(domain.UUIDString())  # what happened while nobody listened
        self._open = connection

    def _on_lifecycle(self, _connection: Any, domain: Any, _event: int, _detail: int, _opaque: Any) -> None:
        self._news.put(domain.UUIDString())
        self._on_move()

    def _on_move(self, *_details: Any) -> None:
        """Something happened that somebody may wait for."""
        with self._moved:
            self._moves += 1
            self._moved.notify_all()

    def _on_close(self, _connection: Any, reason: int, _opaque: Any) -> None:
        """Called on the event loop's thread, where connecting would wait for itself."""
        if reason != libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT and not self._closing.is_set():
            log.warning("connection to libvirtd lost (reason %d), connecting again", reason)
            threading.Thread(target=self._reconnect, name="libvirt-reconnect", daemon=True).start()

    def _reconnect(self) -> None:
        delay = 0.2
        while not self._closing.wait(delay):
            try:
                self.get()
                return
            except CommandFailed as error:
                log.warning("%s", error.message)
                delay = min(10.0, delay * 2)

    def _deliver(self) -> None:
        while (server_id := self._news.get()) is not None:
            try:
                self._changed(server_id)
            except Exception:
                log.exception("news of guest %s", server_id)


NUDGE_S = 5.0
"""How often a guest that does not answer its power button is pressed again."""


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore libvirt's refusal of something that is already so (gone, off, on)."""
    try:
        yield
    except libvirt.libvirtError as error:
        log.debug("libvirt: %s", error)


@contextmanager
def said_by_libvirt() -> Iterator[None]:
    """Turn libvirt's errors into CommandFailed, without the paths of the host that they like to name."""
    try:
        yield
    except libvirt.libvirtError as error:
        log.warning("libvirt: %s", error)
        raise CommandFailed("hypervisor", f"libvirt: {_PATH.sub('(path)', str(error))}") from error
