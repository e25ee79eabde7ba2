"""pileus replica: one of several control planes over one database."""

from __future__ import annotations

import click

from pileus.cli import secret
from pileus.cli.common import state_option
from pileus.cli.starting import image_folder_option, settings_with, start
from pileus.jsontypes import Json


@click.command()
@state_option
@click.option("--database", metavar="URL", envvar="PILEUS_DATABASE", help="postgresql://USER@HOST/NAME.  [kept]")
@click.option("--listen", metavar="HOST:PORT", help="Address of all APIs.  [default: 127.0.0.1:8780]")
@image_folder_option
@click.option("--netns", metavar="NAME", help="Run in this network namespace (made if missing).")
@click.option("--tls-cert", metavar="FILE", help="Certificate (PEM): connections are encrypted.  [kept; '' ends it]")
@click.option("--tls-key", metavar="FILE", help="Its private key (PEM).")
@click.option("--detach", is_flag=True, help="Return once every API answers.")
def replica(state: str, detach: bool, **options: Json) -> None:
    """Start a replica: every API, and its share of the work. Hosts join by `pileus agent`."""
    secret.move_to_environment("--database", "PILEUS_DATABASE")
    settings = settings_with(state, options | {"role": "replica", "hypervisor": "fake", "network": "fake"})
    secret.take("PILEUS_DATABASE")
    if not settings.shared_database:
        raise click.UsageError("--database wants the URL of a PostgreSQL database")
    start(settings, detach)
