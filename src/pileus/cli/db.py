"""pileus db: the schema's version, its upgrade, backups, what is forgotten."""

from __future__ import annotations

import click

from pileus.cli.common import database, settings_of, state_option


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@state_option
def version(state: str) -> None:
    """Print the schema's version and the newest one."""
    from pileus.db import migrate

    click.echo(f"{migrate.version(database(settings_of(state))) or 'empty'} (newest {migrate.HEAD})")


@db.command()
@state_option
def upgrade(state: str) -> None:
    """Apply migrations, after a backup; `pileus up` does it too."""
    from pileus.db import migrate

    settings = settings_of(state)
    had = migrate.upgrade(database(settings), settings.directory / "db" / "backups")
    click.echo(f"{had or 'empty'} -> {migrate.HEAD}")


@db.command()
@state_option
def backup(state: str) -> None:
    """Write a consistent copy, also while the cloud runs; print its path."""
    from pileus.db import migrate
    from pileus.errors import PileusError

    settings = settings_of(state)
    try:
        click.echo(migrate.backup(database(settings), settings.directory / "db" / "backups"))
    except PileusError as error:
        raise click.ClickException(error.message) from error


@db.command()
@state_option
@click.option(
    "--older-than",
    "days",
    type=click.IntRange(1, 36500),
    metavar="DAYS",
    help="What ended, or was deleted, before that.  [default: as the settings say]",
)
def purge(state: str, days: int | None) -> None:
    """Forget finished operations and deleted servers now; the running cloud does it, too, little by little."""
    from pileus import cloud

    settings = settings_of(state)
    found = database(settings)
    seconds = days * 86400.0 if days else None
    operations = cloud.purge(found, settings.keep_operations_s if seconds is None else seconds, 0.0)
    servers = cloud.purge(found, 0.0, settings.keep_deleted_s if seconds is None else seconds)
    click.echo(f"forgotten: {operations} operations, {servers} deleted servers")
