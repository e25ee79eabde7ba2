"""Actions: what may be done to a server. One declaration is the route, its rule and its body's schema, the row of the
state table, and what is done: by a flow (`action`), by the request itself (`deed`), or by the host while the request
waits (`question`).

@action("pause", rule=RULE + "pause", when={ACTIVE}, during=("pausing",), then=PAUSED)
def pause(op: Operation, server_id: str) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Concatenate, Literal, ParamSpec

import msgspec

from pileus.api import Context, Reply, Requester, Routes, Schema, Values
from pileus.api.microversions import Document
from pileus.compute import servers, states
from pileus.compute.failures import Also, broken, falling_to
from pileus.compute.model import Server
from pileus.compute.owing import Unhindered
from pileus.compute.quotas import QUOTAS
from pileus.compute.servers import origin
from pileus.compute.states import ANY, Transition
from pileus.db import Contended, Session
from pileus.errors import Conflict
from pileus.jsontypes import Json
from pileus.operations import Arguments, Flow, Operation, OperationRow, Owed, cancel, live, note, task_states
from pileus.operations.questions import Questions
from pileus.operations.start import Busy, start

P = ParamSpec("P")
PATH = "/v2.1/servers/{server_id}/action"
NOTHING: Values = {"type": ["null", "object"]}
"""Bodies of actions without arguments: clients send null, older ones an empty object."""

Prepare = Callable[[Session, Server, Any, Requester], Arguments]
"""What a request comes to: the flow's arguments, from the body's value; it may change the server's row."""
Answer = Callable[[Context, Server, Arguments], object]
Undo = Callable[[Arguments], Owed]
Doing = Callable[[Session, Server, Any, Requester], object]
"""A deed: the server, locked, and the body's value; what it returns is the response, nothing without a body."""
Asking = Callable[[Questions, Server, Any], object]
"""A question: the hosts, the server and the body's value; what it returns is likewise the response."""
_WORDS = {"os-start": "start", "os-stop": "stop"}
"""What messages call an action, where that is not its key."""
Judge = Callable[[Session, Server, Any, Requester], None]
"""Refuses a request for what it says, whatever state the server is in."""
Fits = Callable[[Json], bool]
"""Whether a body's value is for this action."""
Handle = Callable[[Context, str, Any], object]
"""Does what a request asks for, of a server's id and the body's value."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What all actions have, whoever does them.

    Attributes:
        key: of the body that asks for it; None for what has a URL of its own.
        rule: judged against the server. asks: further rules that doing it asks.
        transition: what it does to the server's state.
        body: schema of the key's value. fits: whether a value is for this action, where several have the key.
        locks: a locked server refuses it. placed: so does one that is on no host.
        unhindered: what must not be owed about the server then (compute/owing.py).
    """

    key: str | None
    rule: str
    transition: Transition
    asks: tuple[str, ...] = ()
    body: Document
    since: str | None = None
    status: int = 202
    locks: bool = True
    placed: bool = True
    fits: Fits | None = None
    unhindered: Unhindered | None = None

    def declare(self, routes: Routes, handle: Handle, transaction: Literal["write"] | None = "write") -> None:
        """Add the action's route, if it has one."""
        if (key := self.key) is None:
            return
        schema = Schema.wrapped(key, self.body)

        @routes.action(
            PATH, key, policy=self.rule, asks=self.asks, body=schema, since=self.since, status=self.status,
            fits=self.fits, deferred=True, transaction=transaction,
        )  # fmt: skip
        def handler(ctx: Context, server_id: str, **_: object) -> object:
            answer = handle(ctx, server_id, ctx.body[key])
            return Reply() if answer is None else answer

    def check(self, session: Session, server: Server, asks: Requester) -> None:
        """Raises Conflict unless the server may have it done now."""
        if self.locks:
            servers.require_unlocked(server, asks)
        row = self.transition
        held = {} if row.wins or row.beside else task_states(session, [server.id])
        self.require(server.id, server.vm_state, held.get(server.id))
        if held:
            raise Busy(f"Another operation is under way on {server.id}.")
        if self.placed and server.host is None:
            raise Conflict(f"Instance {server.id} is not ready: it was never placed on a host")
        if self.unhindered:
            self.unhindered(session, server)

    def require(self, server_id: str, vm_state: str, task_state: str | None) -> None:
        """Raises Conflict, naming what is in the way, unless a server in this state may have it done."""
        row = self.transition
        key = self.key or row.name
        verb = _WORDS.get(key, key)
        states.require(verb, server_id, vm_state, None if row.wins or row.beside else task_state, row.when)


# --- by a flow ------------------------------------------------------------------------------------------------------


class Action(Flow[P]):
    """A flow that an owner asks for by POST .../action; see `action`."""

    def __init__(
        self,
        run: Callable[Concatenate[Operation, P], None],
        offer: Offer,
        *,
        version: int,
        counts: bool,
        also: Also | None,
        answer: Answer | None,
    ) -> None:
        row = offer.transition
        failed = falling_to(row.failed, also)
        super().__init__(f"server.{row.name}", run, version=version, shows=row.during, failed=failed, broken=broken)
        self.offer, self.transition, self._answer = offer, row, answer
        self._counts = counts
        self._judge: Judge | None = None
        self._prepare: Prepare | None = None
        self._undo: Undo | None = None

    def judged(self, function: Judge) -> Judge:
        """Have a function look at requests before the server's state is looked at."""
        self._judge = function
        return function

    def prepared(self, function: Prepare) -> Prepare:
        """Have a function make the flow's arguments of a request; without one, they are the server's id."""
        self._prepare = function
        return function

    def undone(self, function: Undo) -> Undo:
        """Have what preparing it made be taken back, by a recorded action, when the action fails or is cancelled."""
        self._undo = function
        return function

    def declare(self, routes: Routes) -> None:
        """Add the action's route, if it has one."""

        def handle(ctx: Context, server_id: str, body: Json) -> object:
            arguments = self.ask(ctx.session, ctx, server_id, body)
            return self._answer(ctx, ctx.session.get_one(Server, server_id), arguments) if self._answer else None

        self.offer.declare(routes, handle)

    def ask(
        self, session: Session, asks: Requester, server_id: str, body: Json = None, *, rule: str | None = None
    ) -> Arguments:
        """Accept the action: once the transaction commits it will be finished or undone.

        Args:
            rule: to be asked in place of the action's own.

        Raises:
            NotFound: no such server for the caller. Forbidden. Conflict: its state does not allow the action, or it is
                locked. What judging and preparing it raise.
        """
        # Operations before servers, as everywhere (operations/model.py).
        under_way = live(session, server_id, lock=True) if self.transition.wins else []
        if self._counts:
            QUOTAS.lock(session, servers.get(session, server_id, servers.scope(asks)).project_id)
        server = servers.find(session, asks, server_id, rule or self.offer.rule, lock=True)
        if self._judge is not None:
            self._judge(session, server, body, asks)
        self.offer.check(session, server, asks)
        if self._prepare is None:
            arguments = Arguments(server.id, {"server_id": server.id})
        else:
            arguments = self._prepare(session, server, body, asks)
        self._begin(session, server, arguments, asks, under_way)
        return arguments

    def _begin(
        self, session: Session, server: Server, arguments: Arguments, asks: Requester, under_way: Sequence[OperationRow]
    ) -> None:
        """Start the flow, after what is under way and is cancelled for it; unless that is the same."""
        if any(row.kind == self.kind.name for row in under_way):
            return
        for row in under_way:
            cancel(session, row)
        undo = self._undo(arguments) if self._undo else None
        try:
            start(session, self.kind, origin(server, asks), arguments, after=under_way, undo=undo)
        except Busy as error:
            if self.transition.wins:
                raise Contended(f"another request about instance {server.id} came first") from error
            raise

    def arrive(self, op: Operation, server_id: str, done: Values) -> None:
        """The action's last step, where nothing else belongs into it; see `arriving`."""
        op.step("record state", self._arrived, server_id, done, last=True)

    def _arrived(self, session: Session, server_id: str, done: Values) -> None:
        with self.arriving(session, server_id, done):
            pass

    @contextmanager
    def arriving(self, session: Session, server_id: str, done: Values) -> Iterator[Server]:
        """In the action's last step: the server, held, in the state that the action leads to.

        What the guest did by itself since its host's answer counts after it.

        Args:
            done: the host's answer, of which `power_state` and `at` are read, if they are there.
        """
        with self.all_arriving(session, {server_id: done}) as held:
            yield held[server_id]

    @contextmanager
    def all_arriving(self, session: Session, done: Mapping[str, Values]) -> Iterator[dict[str, Server]]:
        """As `arriving`, for several servers together, each with its host's answer; they are given by id."""
        held = servers.held_all(session, done)
        assert held.keys() == done.keys()
        for server_id, server in held.items():
            if self.transition.then is not None:
                servers.set_state(server, self.transition.after(server.vm_state), done[server_id].get("power_state"))
        yield held
        for server_id, server in held.items():
            servers.catch_up(server, done[server_id].get("at"))


def action(
    key: str | None,
    *,
    rule: str,
    when: Iterable[str],
    during: tuple[str, ...],
    then: str | Mapping[str, str] | None,
    failed: str | None = None,
    wins: bool = False,
    name: str = "",
    body: Document = NOTHING,
    asks: tuple[str, ...] = (),
    since: str | None = None,
    status: int = 202,
    version: int = 1,
    locks: bool = True,
    placed: bool = True,
    counts: bool = False,
    also: Also | None = None,
    fits: Fits | None = None,
    unhindered: Unhindered | None = None,
    answer: Answer | None = None,
) -> Callable[[Callable[Concatenate[Operation, P], None]], Action[P]]:
    """Make a function the flow of an action.

    Args:
        key, rule, asks, body, since, status, locks, placed, fits, unhindered: see Offer.
        when, during, then, failed, wins: what it does to the server's state, see Transition.
        name: in the journal ("server.<name>"); the function's unless it is given.
        version: see Flow.
        counts: preparing it takes of the quota of the server's project.
        also: what is done to the server when it failed, after what `failed` says.
        answer: the response's body or Reply.
    """

    def make(run: Callable[Concatenate[Operation, P], None]) -> Action[P]:
        row = Transition(
            name=name or run.__name__, when=frozenset(when), during=during, then=then, failed=failed, wins=wins
        )
        offer = Offer(
            key=key, rule=rule, transition=row, asks=asks, body=body, since=since, status=status, locks=locks,
            placed=placed, fits=fits, unhindered=unhindered,
        )  # fmt: skip
        return Action(run, offer, version=version, counts=counts, also=also, answer=answer)

    return make


# --- by the request -------------------------------------------------------------------------------------------------


class Deed:
    """An action that the request itself does; nobody needs to carry it out. See `deed`."""

    def __init__(self, offer: Offer, run: Doing, journaled: str) -> None:
        self.offer, self.transition, self.run, self._journaled = offer, offer.transition, run, journaled

    def declare(self, routes: Routes) -> None:
        """Add the action's route."""

        def handle(ctx: Context, server_id: str, body: Json) -> object:
            server = servers.find(ctx.session, ctx, server_id, self.offer.rule, lock=True)
            self.offer.check(ctx.session, server, ctx)
            answer = self.run(ctx.session, server, body, ctx)
            if self.transition.then is not None:
                servers.set_state(server, self.transition.after(server.vm_state))
            note(ctx.session, f"server.{self._journaled}", server.id, origin(server, ctx))
            return answer

        self.offer.declare(routes, handle)


def deed(
    key: str,
    *,
    rule: str,
    name: str,
    when: Iterable[str] = ANY,
    then: str | None = None,
    beside: bool = False,
    body: Document = NOTHING,
    asks: tuple[str, ...] = (),
    journaled: str = "",
    since: str | None = None,
    status: int = 202,
    locks: bool = False,
    fits: Fits | None = None,
) -> Callable[[Doing], Deed]:
    """Make a function an action that needs no flow: it gets the server, locked, and the body's value.

    Args:
        key, rule, asks, body, since, status, locks, fits: see Offer.
        name, when, then, beside: what it does to the server's state, see Transition.
        journaled: under which name ("server.<journaled>"); `name` unless it is given.
    """
    row = Transition(name=name, when=frozenset(when), then=then, beside=beside)
    offer = Offer(
        key=key, rule=rule, transition=row, asks=asks, body=body, since=since, status=status, locks=locks,
        placed=False, fits=fits,
    )  # fmt: skip
    return lambda run: Deed(offer, run, journaled or name)


# --- by the host, meanwhile -----------------------------------------------------------------------------------------


class Question:
    """An action that the server's host does while the request waits, outside of any transaction. See `question`."""

    def __init__(self, offer: Offer, run: Asking, journaled: bool) -> None:
        self.offer, self.transition, self.run, self._journaled = offer, offer.transition, run, journaled

    def declare(self, routes: Routes) -> None:
        """Add the action's route."""

        def handle(ctx: Context, server_id: str, body: Json) -> object:
            with ctx.cloud.db.read() as session:
                server = servers.find(session, ctx, server_id, self.offer.rule)
                self.offer.check(session, server, ctx)
            answer = self.run(ctx.cloud.part(Questions), server, body)
            if self._journaled:
                with ctx.cloud.db.write() as session:
                    note(session, f"server.{self.transition.name}", server.id, origin(server, ctx))
            return answer

        self.offer.declare(routes, handle, transaction=None)


def question(
    key: str,
    *,
    rule: str,
    name: str,
    when: Iterable[str],
    beside: bool = False,
    body: Document = NOTHING,
    status: int = 202,
    locks: bool = True,
    journaled: bool = True,
) -> Callable[[Asking], Question]:
    """Make a function an action that asks the server's host; it changes no state.

    Args:
        key, rule, body, status, locks: see Offer. name, when, beside: see Transition.
        journaled: whether it is journaled once it is done, as "server.<name>".
    """
    row = Transition(name=name, when=frozenset(when), beside=beside)
    offer = Offer(key=key, rule=rule, transition=row, body=body, status=status, locks=locks)
    return lambda run: Question(offer, run, journaled)
