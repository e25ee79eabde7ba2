"""pileus status: what runs, what is still owed, and what an operator has to decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pileus.cli import tables
from pileus.cli.common import agents_cloud, database, say, settings_of, state_option
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
        _show_summary(session, running)
        _show_debts(session)
        _show_unknown(session)
        _show_other_cloud(session, settings)


def _show_summary(session: Session, running: bool) -> None:
    from pileus.compute import overview

    found = overview.summary(session)
    kinds = ", ".join(found.kinds)
    say(f"hosts      {found.host_count}, {found.up if running else 0} up" + (f" ({kinds})" if kinds else ""))
    counted = ", ".join(f"{count} {state}" for state, count in found.servers.items())
    click.echo(f"servers    {counted or 'none'}")
    click.echo(f"operations {found.work_count} under way")
    for row in found.defects[-SHOWN:]:
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
