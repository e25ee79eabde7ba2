"""Actions: what may be done to a server. One declaration is the route, its rule and its body's schema, the row of the
state table, and the flow.

@action("pause", rule=RULE + "pause", when={ACTIVE}, during="pausing", then=PAUSED)
def pause(op: Operation, server_id: str) -> None: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Concatenate, ParamSpec

from pileus.api import Context, Reply, Requester, Routes, Schema, Values
from pileus.api.microversions import Document
from pileus.api.routes import Options
from pileus.compute import servers, states
from pileus.compute.failures import break_down, broken, stay
from pileus.compute.model import Server
from pileus.compute.servers import origin
from pileus.compute.states import ERROR, Transition
from pileus.db import Session
from pileus.errors import Conflict
from pileus.jsontypes import Json
from pileus.operations import Arguments, Flow, Operation, Owed, note, task_states
from pileus.operations.flow import FailureHook

P = ParamSpec("P")
PATH = "/v2.1/servers/{server_id}/action"
NOTHING: Values = {"type": ["null", "object"]}
"""Bodies of actions without arguments: clients send null, older ones an empty object."""
_HOOKS: dict[str | None, FailureHook] = {None: stay, ERROR: break_down}

Prepare = Callable[[Session, Server, Any, Requester], Arguments]
"""What a request comes to: the flow's arguments, from the body's value; it may change the server's row."""
Answer = Callable[[Context, Server, Arguments], object]
Undo = Callable[[Arguments], Owed]
Doing = Callable[[Session, Server, Any, Requester], object]
"""A deed: the server, locked, and the body's value; what it returns is the response, nothing without a body."""
Fits = Callable[[Json], bool]
"""Whether a body's value is for this action."""


class Action(Flow[P]):
    """A flow that an owner asks for by POST .../action; see `action`."""

    def __init__(
        self,
        run: Callable[Concatenate[Operation, P], None],
        transition: Transition,
        *,
        key: str | None,
        rule: str,
        asks: tuple[str, ...],
        body: Document,
        since: str | None,
        status: int,
        version: int,
        locks: bool,
        hook: FailureHook | None,
        fits: Fits | None,
        answer: Answer | None,
    ) -> None:
        super().__init__(
            f"server.{transition.name}",
            run,
            version=version,
            task_state=transition.during,
            failed=hook or _HOOKS[transition.failed],
            broken=broken,
        )
        self.transition, self.key, self.rule = transition, key, rule
        self._asks, self._body, self._since, self._status = asks, body, since, status
        self._locks, self._fits, self._answer = locks, fits, answer
        self._prepare: Prepare | None = None
        self._undo: Undo | None = None

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
        if self.key is None:
            return
        schema = Schema.wrapped(self.key, self._body)
        options: Options = {
            "policy": self.rule,
            "asks": self._asks,
            "body": schema,
            "since": self._since,
            "status": self._status,
            "fits": self._fits,
            "deferred": True,
        }

        def handler(ctx: Context, server_id: str, **_: object) -> object:
            assert self.key is not None
            server = servers.find(ctx.session, ctx, server_id, self.rule, lock=True)
            arguments = self.begin(ctx.session, server, ctx.body[self.key], ctx)
            return self._answer(ctx, server, arguments) if self._answer else Reply()

        routes.action(PATH, self.key, **options)(handler)

    def begin(self, session: Session, server: Server, body: Json, asks: Requester) -> Arguments:
        """Accept the action for a server whose row is locked.

        Raises:
            Conflict: its state does not allow the action, or it is locked. What preparing it raises.
        """
        if self._locks:
            servers.require_unlocked(server, asks)
        self.require(server.id, server.vm_state, task_states(session, [server.id]).get(server.id))
        if server.host is None:
            raise Conflict(f"Instance {server.id} is not ready: it was never placed on a host")
        if self._prepare is None:
            arguments = Arguments(server.id, {"server_id": server.id})
        else:
            arguments = self._prepare(session, server, body, asks)
        undo = self._undo(arguments) if self._undo else None
        self.accept(session, origin(server, asks), arguments, undo=undo)
        return arguments

    def require(self, server_id: str, vm_state: str, task_state: str | None) -> None:
        """Raises Conflict, naming what is in the way, unless a server in this state may have it done."""
        verb = (self.key or self.transition.name).removeprefix("os-")
        task = None if self.transition.wins else task_state
        states.require(verb, server_id, vm_state, task, self.transition.when)

    def arrive(self, op: Operation, server_id: str, done: Values, then: str | None = None) -> None:
        """The action's last step: the server is in the state that it leads to, and the guest as its host said."""
        op.step("record state", record, server_id, then or self.transition.then, done, last=True)


def action(
    key: str | None,
    *,
    rule: str,
    when: Iterable[str],
    during: str | None,
    then: str | None,
    failed: str | None = None,
    name: str = "",
    body: Document = NOTHING,
    asks: tuple[str, ...] = (),
    since: str | None = None,
    status: int = 202,
    version: int = 1,
    locks: bool = True,
    wins: bool = False,
    hook: FailureHook | None = None,
    fits: Fits | None = None,
    answer: Answer | None = None,
) -> Callable[[Callable[Concatenate[Operation, P], None]], Action[P]]:
    """Make a function the flow of an action.

    Args:
        key: of the body that asks for it; None for what has a URL of its own.
        rule: judged against the server. asks: further rules that preparing it asks.
        when, during, then, failed, wins: what it does to the server's state, see Transition.
        name: in the journal ("server.<name>"); the function's unless it is given.
        body: schema of the key's value. fits: whether a value is for this action, where several have the key.
        locks: a locked server refuses it.
        hook: what is done when it failed, in place of what `failed` says.
        answer: the response's body or Reply.
    """

    def make(run: Callable[Concatenate[Operation, P], None]) -> Action[P]:
        row = Transition(
            name=name or run.__name__, when=frozenset(when), during=during, then=then, failed=failed, wins=wins
        )
        return Action(
            run, row, key=key, rule=rule, asks=asks, body=body, since=since, status=status, version=version,
            locks=locks, hook=hook, fits=fits, answer=answer,
        )  # fmt: skip

    return make


class Deed:
    """An action that the request itself does; it is journaled, and nobody needs to carry it out. See `deed`."""

    def __init__(self, key: str, run: Doing, **declared: Any) -> None:
        self.key, self.run = key, run
        self._rule: str = declared.pop("rule")
        self._journaled: str | None = declared.pop("journaled")
        self._body: Document = declared.pop("body")
        self._options = declared

    def declare(self, routes: Routes) -> None:
        """Add the action's route."""

        def handler(ctx: Context, server_id: str, **_: object) -> object:
            server = servers.find(ctx.session, ctx, server_id, self._rule, lock=True)
            answer = self.run(ctx.session, server, ctx.body[self.key], ctx)
            if self._journaled:
                note(ctx.session, f"server.{self._journaled}", server.id, origin(server, ctx))
            return Reply() if answer is None else answer

        schema = Schema.wrapped(self.key, self._body)
        routes.action(PATH, self.key, policy=self._rule, deferred=True, body=schema, **self._options)(handler)


def deed(
    key: str,
    *,
    rule: str,
    body: Document = NOTHING,
    asks: tuple[str, ...] = (),
    journaled: str | None = None,
    since: str | None = None,
    status: int = 202,
) -> Callable[[Doing], Deed]:
    """Make a function an action that needs no flow: it gets the server, locked, and the body's value.

    Args:
        journaled: under which name it is journaled; None: not at all. The others are those of `action`.
    """

    def make(run: Doing) -> Deed:
        return Deed(key, run, rule=rule, body=body, asks=asks, journaled=journaled, since=since, status=status)

    return make


def record(session: Session, server_id: str, vm_state: str | None, done: Values) -> None:
    """The host's answer is the server's state, unless the guest has done something since."""
    server = servers.held(session, server_id)
    assert server is not None
    servers.set_state(server, vm_state or server.vm_state, done.get("power_state"))
    servers.catch_up(server, done.get("at"))
