"""pileus debt: what hosts, the network and the database are still owed."""

from __future__ import annotations

import click

from pileus.cli import tables
from pileus.cli.common import database, say, settings_of, state_option


@click.group()
def debt() -> None:
    """See what is still owed to hosts and the network; write off what never can be paid."""


@debt.command("list")
@state_option
def list_debts(state: str) -> None:
    """Print every open debt, oldest first. The running cloud goes on trying them."""
    from pileus.operations import debts

    with database(settings_of(state)).read() as session:
        rows = debts.open_debts(session)
    if rows:
        tables.console().print(tables.debts(rows))
    else:
        click.echo("nothing is owed")


@debt.command()
@state_option
@click.argument("number", type=click.IntRange(1, 2**63 - 1))
def forget(state: str, number: int) -> None:
    """Write a debt off: what it names is not done, and stays as it is on its host or in the network."""
    from pileus.operations import debts
    from pileus.operations.model import DebtRow

    with database(settings_of(state)).write() as session:
        row = session.get(DebtRow, number)
        if row is None or not debts.forget(session, number):
            raise click.ClickException(f"there is no debt {number}")
    say(f"forgotten: {row.name} {row.subject_id}, owed to {row.host}. {_meaning(row.name, row.host)}")


def _meaning(name: str, host: str) -> str:
    if name == "discard guest":
        return "If the guest is still there, it is shown as unknown when its host next reports."
    if host.startswith("("):
        return "Nothing repeats it: the next change of the same object does."
    return "Nothing repeats it; what the host has of it stays as it is."
