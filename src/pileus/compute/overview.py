"""A cloud at one moment, as `pileus status` and `pileus top` show it: hosts, servers, operations, debts. Nothing is
written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import ColumnElement, func, select

from pileus.clock import utcnow
from pileus.compute import hypervisors
from pileus.compute.hypervisors import Use
from pileus.compute.model import Host, Server
from pileus.db import Session, in_seconds
from pileus.jsontypes import Values
from pileus.operations import OperationRow, debts, leases
from pileus.operations.model import DebtRow, StepRow

LATELY_S = 10.0
"""Over how long ended operations are counted."""
DEFECTS_S = 86400.0
"""For how long an operation that hit a defect of ours is told of."""


class HostLine(msgspec.Struct, frozen=True):
    """A host. `heard_s`: seconds since it was heard of, by the database's clock."""

    name: str
    state: str
    heard_s: float
    use: Use


class Work(msgspec.Struct, frozen=True):
    """An operation under way. `step`: what it does, or did last; `since`: when that began."""

    kind: str
    subject_id: str
    state: str
    created_at: datetime
    step: str
    host: str
    since: datetime
    progress: Values | None


class Overview(msgspec.Struct, frozen=True):
    """A cloud at one moment; of hosts, operations and debts only as many as there is room for, with their numbers.

    Attributes:
        per_s: operations that ended in a second, over LATELY_S.
    """

    hosts: list[HostLine]
    host_count: int
    up: int
    replicas: int
    work: list[Work]
    work_count: int
    per_s: float
    debts: Sequence[DebtRow]
    debt_count: int


class Summary(msgspec.Struct, frozen=True):
    """A cloud in numbers.

    Attributes:
        kinds: of hypervisors. servers: how many have which vm_state. work_count: operations under way.
        defects: operations that hit one within DEFECTS_S, the newest last.
    """

    host_count: int
    up: int
    kinds: list[str]
    servers: dict[str, int]
    work_count: int
    defects: list[OperationRow]


_UNDER_WAY = OperationRow.finished_at.is_(None)


def summary(session: Session) -> Summary:
    """What there is now, in numbers."""
    hosts = list(session.scalars(select(Host)))
    servers = select(Server.vm_state, func.count()).where(Server.deleted_at.is_(None)).group_by(Server.vm_state)
    return Summary(
        host_count=len(hosts),
        up=sum(host.alive for host in hosts),
        kinds=sorted({host.hypervisor_type for host in hosts}),
        servers=dict(session.execute(servers).all()),
        work_count=_count(session, _UNDER_WAY),
        defects=_defects(session),
    )


def _defects(session: Session) -> list[OperationRow]:
    ended = (OperationRow.finished_at > utcnow() - timedelta(seconds=DEFECTS_S), OperationRow.error.is_not(None))
    query = select(OperationRow).where(*ended).order_by(OperationRow.finished_at)
    return [row for row in session.scalars(query) if "defect" in (row.error or {})]


def read(session: Session, room: int) -> Overview:
    """What there is now; `room`: the most rows of each table."""
    rows = list(session.scalars(select(Host).order_by(Host.name)))
    up = sum(host.alive for host in rows)
    rows.sort(key=lambda host: host.alive)  # those that are down are seen first
    lately = OperationRow.finished_at > utcnow() - timedelta(seconds=LATELY_S)
    return Overview(
        hosts=_hosts(session, rows[:room]),
        host_count=len(rows),
        up=up,
        replicas=leases.alive(session),
        work=_work(session, room),
        work_count=_count(session, _UNDER_WAY),
        per_s=_count(session, lately) / LATELY_S,
        debts=debts.open_debts(session, limit=room),
        debt_count=debts.count(session),
    )


def _count(session: Session, which: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(OperationRow).where(which)) or 0


def _hosts(session: Session, hosts: Sequence[Host]) -> list[HostLine]:
    now = session.scalar(select(in_seconds(0)))
    uses = hypervisors.use(session, hosts)
    return [
        HostLine(host.name, _state(host), (now - host.last_seen).total_seconds() if now else 0.0, uses[host.name])
        for host in hosts
    ]


def _state(host: Host) -> str:
    if host.forced_down:
        return "forced down"
    return ("up" if host.alive else "down") + (", disabled" if host.disabled else "")


def _work(session: Session, room: int) -> list[Work]:
    """The oldest operations under way, each with the step that was recorded last."""
    query = select(OperationRow).where(_UNDER_WAY).order_by(OperationRow.created_at).limit(room)
    rows = list(session.scalars(query))
    steps = select(StepRow).where(StepRow.operation_id.in_([row.id for row in rows])).order_by(StepRow.id)
    last = {step.operation_id: step for step in session.scalars(steps)}
    return [_with_step(row, last.get(row.id)) for row in rows]


def _with_step(row: OperationRow, step: StepRow | None) -> Work:
    name, host, since = "", "", row.created_at
    if step is not None:
        name = f"undo {step.name}" if step.undo else step.name
        name = name if step.outcome == "begun" else f"after {name}"
        host, since = step.host or "", step.finished_at or step.started_at
    return Work(row.kind, row.subject_id, row.state, row.created_at, name, host, since, row.progress)
