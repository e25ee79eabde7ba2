"""pileus status: what runs, what is still owed, and what an operator has to decide."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click
from sqlalchemy import func, select

from pileus.cli import tables
from pileus.cli.common import agents_cloud, database, say, settings_of, state_option
from pileus.clock import utcnow
from pileus.settings import Settings
from pileus.statedir import running

if TYPE_CHECKING:
    from pileus.db import Session

SHOWN = 20
"""Rows of each table, at most."""


@click.command()
@state_option
def status(state: str) -> None:
    """Show whether the cloud runs, its hosts and servers, and what is under way, owed or unknown. Exit 3 when down."""
    settings = settings_of(state)
    pid = running(settings)
    click.echo(f"{settings.role:<10} {'running, pid ' + str(pid) if pid else 'down'}")
    click.echo(f"state      {settings.state}")
    if settings.role == "agent":
        click.echo(f"host       {settings.name}, of cloud {agents_cloud(settings) or '(none)'}")
    else:
        _show_cloud(settings, running=pid is not None)
    if pid is None:
        raise SystemExit(3)


def _show_cloud(settings: Settings, running: bool) -> None:
    click.echo(f"identity   {settings.url}/identity" + (f" in namespace {settings.netns}" if settings.netns else ""))
    with database(settings).read() as session:
        _show_hosts(session, running)
        _show_servers(session)
        _show_operations(session)
        _show_debts(session)
        _show_unknown(session)
        _show_other_cloud(session, settings)


def _show_hosts(session: Session, running: bool) -> None:
    from pileus.compute.model import Host

    hosts = list(session.scalars(select(Host)))
    kinds = ", ".join(sorted({host.hypervisor_type for host in hosts}))
    up = sum(host.alive for host in hosts) if running else 0
    say(f"hosts      {len(hosts)}, {up} up" + (f" ({kinds})" if kinds else ""))


def _show_servers(session: Session) -> None:
    from pileus.compute.model import Server

    query = select(Server.vm_state, func.count()).where(Server.deleted_at.is_(None)).group_by(Server.vm_state)
    counted = ", ".join(f"{count} {state}" for state, count in session.execute(query))
    click.echo(f"servers    {counted or 'none'}")


def _show_operations(session: Session) -> None:
    from pileus.operations import OperationRow

    live = session.scalar(select(func.count()).select_from(OperationRow).where(OperationRow.finished_at.is_(None)))
    click.echo(f"operations {live} under way")
    ended = (OperationRow.finished_at > utcnow() - timedelta(days=1), OperationRow.error.is_not(None))
    query = select(OperationRow).where(*ended).order_by(OperationRow.finished_at)
    broken = [row for row in session.scalars(query) if "defect" in (row.error or {})]
    for row in broken[-SHOWN:]:
        assert row.error is not None and row.finished_at is not None
        say(f"defect     {row.kind} {row.subject_id}, {tables.age(row.finished_at)} ago: {row.error['defect']}")


def _show_debts(session: Session) -> None:
    from pileus.operations import debts

    click.echo(f"debts      {debts.count(session)} open")
    if rows := debts.open_debts(session, limit=SHOWN):
        tables.console().print(tables.debts(rows))


def _show_unknown(session: Session) -> None:
    from pileus.compute import unknown

    rows = unknown.everyone(session)
    click.echo(f"unknown    {len(rows)} guests" + (": `pileus guest adopt` or `discard` decides" if rows else ""))
    if rows:
        tables.console().print(tables.unknown_guests(rows[:SHOWN]))


def _show_other_cloud(session: Session, settings: Settings) -> None:
    """A line if this machine's agent serves another cloud."""
    from pileus.operations.ids import cloud_id

    ours, theirs = cloud_id(session), agents_cloud(settings)
    if ours and theirs and ours != theirs:
        click.echo(f"agent      belongs to another cloud, {theirs}; this is {ours}, for which it does nothing.")
        click.echo("           Was the database replaced? `pileus host take` gives the agent to this cloud.")
