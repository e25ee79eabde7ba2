"""pileus top: hosts, operations under way and debts, again and again."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from sqlalchemy.exc import DBAPIError

from pileus.cli import tables
from pileus.cli.common import database, settings_of, state_option
from pileus.db import Database

if TYPE_CHECKING:
    from pileus.compute.overview import Overview

ROOM = 20
"""Rows of each table in a frame that is printed."""
BESIDE = 8
"""Lines of a frame that are no rows: headings, and what is between the tables."""


@click.command()
@state_option
@click.option("--once", is_flag=True, help="Print how it is now, and end.")
@click.option(
    "--every", type=click.FloatRange(0.1), default=1.0, show_default=True, metavar="S", help="How often it is read."
)
def top(state: str, once: bool, every: float) -> None:
    """Watch hosts, operations under way with their current step, and debts; q ends it. Nothing is changed."""
    db = database(settings_of(state))
    try:
        if once:
            tables.console().print(frame(db, ROOM))
        elif not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise click.UsageError("this is no terminal: --once prints how it is now")
        else:
            _watch(db, every)
    finally:
        db.dispose()


def frame(db: Database, room: int) -> Group:
    """How it is now; `room`: the most rows of each table."""
    from pileus.compute import overview

    with db.read() as session:
        return _drawn(overview.read(session, room))


def _watch(db: Database, every_s: float) -> None:
    console = Console(highlight=False)
    with _keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(_frame_or_why(db, max(1, (console.height - BESIDE) // 3)), refresh=True)
                if select.select([sys.stdin], [], [], every_s)[0] and os.read(sys.stdin.fileno(), 1) in (
                    b"q",
                    b"Q",
                    b"",
                ):
                    return
        except KeyboardInterrupt:
            return


def _frame_or_why(db: Database, room: int) -> RenderableType:
    """A database that is away for a while is waited for."""
    try:
        return frame(db, room)
    except DBAPIError as error:
        return tables.plain(f"the database does not answer: {error.orig}", "red")


@contextmanager
def _keys() -> Iterator[None]:
    """Keys are read as they are typed."""
    former = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, former)


def _drawn(found: Overview) -> Group:
    from pileus.compute.overview import LATELY_S

    ended = f"{found.per_s:g} a second ended in the last {LATELY_S:g} s"
    return Group(
        tables.plain(f"{found.host_count} hosts, {found.up} up; {found.replicas} replicas"),
        _hosts(found),
        "",
        tables.plain(f"{found.work_count} operations under way, {ended}"),
        _work(found),
        "",
        tables.plain(f"{found.debt_count} debts"),
        tables.debts(found.debts),
    )


def _hosts(found: Overview) -> Table:
    table = tables.columns("host", "state", "heard of", "guests", "CPUs", "memory, MiB", "disk, GiB")
    for one in found.hosts:
        use = one.use
        amounts = (
            f"{used} of {total}"
            for used, total in (
                (use.vcpus_used, use.vcpus),
                (use.memory_mb_used, use.memory_mb),
                (use.local_gb_used, use.local_gb),
            )
        )
        tables.add(table, one.name, one.state, f"{max(0.0, one.heard_s):.0f} s ago", str(use.running_vms), *amounts)
    return table


def _work(found: Overview) -> Table:
    table = tables.columns("operation", "about", "state", "age", "step", "host", "for", "progress")
    for one in found.work:
        done = "{stage}: {done} of {total} bytes".format(**one.progress) if one.progress else ""
        ages = tables.age(one.created_at), tables.age(one.since)
        tables.add(table, one.kind, one.subject_id, one.state, ages[0], one.step, one.host, ages[1], done)
    return table
