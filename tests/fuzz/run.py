"""Sends many drawn requests to a world, and counts what came of them."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from tests.fuzz.requests import Drawer, Request
from tests.fuzz.world import World

LASTS = 500
"""Requests that a world serves: it is soon in ruins, as administrators fuzz, too."""
SLOW_S = 2.0
"""Processor time that no request may take."""


class Fault(msgspec.Struct):
    """Requests that ended in the same place of the program."""

    status: int
    place: str
    request: Request
    trace: str
    times: int = 1


class Result(msgspec.Struct):
    """What came of a run."""

    seed: int
    requests: int = 0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    identities: Counter[str] = msgspec.field(default_factory=Counter)
    routes: set[str] = msgspec.field(default_factory=set)
    faults: dict[str, Fault] = msgspec.field(default_factory=dict)
    slow: list[tuple[float, Request]] = msgspec.field(default_factory=list)
    unfit: list[Request] = msgspec.field(default_factory=list)
    """What only the database refused, so that the answer names no field."""

    @property
    def failures(self) -> int:
        """How many answers were 5xx, but 501, which says that this cloud does not have what is asked for."""
        return sum(count for status, count in self.statuses.items() if status >= 500 and status != 501)

    def __str__(self) -> str:
        counts = ", ".join(f"{status}: {count}" for status, count in sorted(self.statuses.items()))
        return (
            f"seed {self.seed}: {self.requests} requests of {len(self.identities)} identities "
            f"to {len(self.routes)} routes, "
            f"{self.failures} answered 5xx, at {len(self.faults)} places, "
            f"{len(self.unfit)} refused by the database alone ({counts})"
        )


class Listener(logging.Handler):
    """Remembers the last exception that the application logged."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.unfit = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.unfit += "does not fit" in record.msg
        if record.exc_info and record.exc_info[1]:
            self.error = record.exc_info[1]


def run(worlds: Callable[[], AbstractContextManager[World]], seed: int, requests: int) -> Result:
    """Draw and send.

    Args:
        worlds: makes one after the other.
    """
    result, listener = Result(seed), Listener()
    log = logging.getLogger("pileus")
    log.addHandler(listener)
    propagate, log.propagate = log.propagate, False
    try:
        while result.requests < requests:
            with worlds() as world:
                drawer = Drawer(world, seed * 1_000_003 + result.requests)
                for number in range(result.requests, min(result.requests + LASTS, requests)):
                    _one(world, drawer.draw(number), result, listener)
                    if number % 20 == 0:
                        world.settle()
                    if number % 50 == 0 and world.ask("admin", "GET", "/identity/v3/roles").status != 200:
                        break  # its administrator has locked himself out
    finally:
        log.removeHandler(listener)
        log.propagate = propagate
    return result


def report(result: Result) -> str:
    """What is to be mended: the first request of each place, with its traceback, and the slow ones."""
    faults = [f"{one.times} x {one.place}\n{shown(one.request)}\n{one.trace}" for one in result.faults.values()]
    slow = [f"{took:.1f} s: {shown(request)}" for took, request in result.slow]
    return "\n\n".join([str(result), *faults, *slow])


def _one(world: World, request: Request, result: Result, listener: Listener) -> None:
    listener.error, listener.unfit = None, 0
    began = time.thread_time()
    answer = world.send(request.method, request.target, request.headers, request.body)
    took = time.thread_time() - began
    result.requests += 1
    result.statuses[answer.status] += 1
    result.identities[request.who] += 1
    result.routes.add(request.route)
    if listener.unfit:
        result.unfit.append(request)
    if took > SLOW_S:
        result.slow.append((took, request))
    if answer.status >= 500 and answer.status != 501:
        error = answer.crashed or listener.error
        where = place(error)
        if where in result.faults:
            result.faults[where].times += 1
        else:
            trace = "".join(traceback.format_exception(error)) if error else answer.body.decode("utf-8", "replace")
            result.faults[where] = Fault(answer.status, where, request, trace)


def place(error: Any) -> str:
    """Where in the program an exception comes from: its last own line, and its kind."""
    frames = traceback.extract_tb(error.__traceback__) if error else []
    own = [frame for frame in frames if "/pileus/" in frame.filename]
    last = own[-1] if own else None
    where = f"{last.filename.rpartition('/pileus/')[2]}:{last.lineno}" if last else "?"
    return f"{where} {type(error).__name__}"


def shown(request: Request) -> str:
    """A request, short enough to be read."""
    body = (request.body or b"")[:300]
    headers = [(name, value[:60]) for name, value in request.headers if name != "X-Auth-Token"]
    return f"{request.who}: {request.method} {request.target[:300]} {headers} {body!r}"
