"""What the verbs share: the --state option and the cloud it names."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pileus.db import Database
from pileus.errors import PileusError
from pileus.logs import MESSAGE_CHARS, printable
from pileus.settings import Settings, default_state, load
from pileus.users import act_as, act_as_root

state_option = click.option(
    "--state",
    default=default_state,
    metavar="DIR",
    help="State directory of the cloud.",
    show_default="/var/lib/pileus",
)


def say(text: str) -> None:
    """Print a line in which hosts or tenants have a say: it moves no cursor, and stays one line."""
    click.echo(printable(text, MESSAGE_CHARS))


def refused(error: PileusError) -> click.ClickException:
    """What a verb refuses, as it is told."""
    return click.ClickException(printable(error.message, MESSAGE_CHARS))


def settings_of(state: str) -> Settings:
    """The settings of the cloud in `state`.

    Raises:
        click.ClickException: no cloud was ever started there.
    """
    settings = load(state)
    if not (settings.directory / "settings.json").exists():
        raise click.ClickException(f"there is no cloud in {settings.state}; start one with `pileus up`")
    return settings


def database(settings: Settings) -> Database:
    """The cloud's database. From here on the verb acts as the user that serves, whose the database's folder is: root
    opens nothing in another's folder.

    Raises:
        click.ClickException: it is not this user's to read.
    """
    if os.geteuid() == 0:
        try:
            act_as(settings.replica_user)
        except KeyError:
            raise click.ClickException(f"there is no user {settings.replica_user}: no cloud ran here") from None
        click.get_current_context().call_on_close(act_as_root)
    if settings.role == "agent":
        raise click.ClickException("an agent has no database: ask where a replica runs")
    path = settings.directory / "db"
    if not settings.database and not _readable(path):
        raise click.ClickException(f"{path} cannot be read by this user")
    return Database(settings.database_url, pool_size=1)


def agents_cloud(settings: Settings) -> str:
    """The id of the cloud that this machine's agent serves; "" while it serves none."""
    try:
        return (settings.directory / "agent" / "cloud").read_text().strip()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be read by this user") from error


def _readable(path: Path) -> bool:
    try:
        next(iter(path.iterdir()), None)
    except OSError:
        return False
    return True
