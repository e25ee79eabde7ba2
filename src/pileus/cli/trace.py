"""pileus trace: one timeline of what was done, from the journal."""

from __future__ import annotations

from datetime import datetime

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from pileus.cli import tables
from pileus.cli.common import database, settings_of, state_option
from pileus.db import Session
from pileus.jsontypes import Values
from pileus.operations.debts import open_debts
from pileus.operations.model import OperationRow
from pileus.operations.views import Stage, of, stages


@click.command()
@state_option
@click.argument("server_or_request")
def trace(state: str, server_or_request: str) -> None:
    """Show every operation on a server (id or name), or that a request (req-...) started, stage by stage."""
    with database(settings_of(state)).read() as session:
        found = _find(session, server_or_request)
        if not found:
            raise click.ClickException(f"nothing is known of {server_or_request}")
        console = Console(width=None if Console().is_terminal else 160)
        for operation in found:
            console.print(_table(operation, stages(session, operation)))
            if operation.progress:
                done = "{stage}: {done} of {total} bytes".format(**operation.progress)
                console.print(tables.plain(done))
            if operation.error:
                console.print(tables.plain(f"{operation.state}: {operation.error['message']}", "red"))
        if owed := open_debts(session, {operation.subject_id for operation in found}):
            console.print(tables.debts(owed))


def _find(session: Session, wanted: str) -> list[OperationRow]:
    from pileus.compute.model import Server

    if found := of(session, wanted):
        return found
    newest = select(Server.id).where(Server.name == wanted).order_by(Server.created_at.desc()).limit(1)
    server_id = session.scalar(newest)
    return of(session, server_id) if server_id else []


def _table(operation: OperationRow, found: list[Stage]) -> Table:
    end = operation.finished_at or (found[-1].finished if found else operation.created_at)
    total = (end - operation.created_at).total_seconds()
    table = Table(
        title=tables.plain(
            f"{operation.kind} {operation.subject_id}  {operation.state}, {total:.3f} s  ({operation.request_id})"
        ),
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for name in ("start", "stage", "host", "seconds", "outcome", "detail"):
        table.add_column(name, justify="right" if name in ("start", "seconds") else "left", overflow="fold")
    for stage in found:
        tables.add(
            table,
            f"+{_since(operation.created_at, stage.started):.3f}",
            "  " * stage.depth + stage.name,
            stage.host or "",
            f"{stage.duration_s:.3f}",
            stage.outcome,
            stage.error or _detail(stage.detail),
        )
    return table


def _since(start: datetime, moment: datetime) -> float:
    return max(0.0, (moment - start).total_seconds())


def _detail(detail: Values) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in detail.items())


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {inner}" for name, inner in value.items()) + ")"
    return str(value)
