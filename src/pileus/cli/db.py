"""pileus db: the schema's version, its upgrade, backups."""

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
