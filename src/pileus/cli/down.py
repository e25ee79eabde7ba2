"""pileus down: stop everything in order."""

from __future__ import annotations

import time

import click

from pileus.cli.common import settings_of, state_option
from pileus.statedir import ask_to_stop, locked, running

TIMEOUT_S = 150.0


@click.command()
@state_option
@click.option("--keep-guests", is_flag=True, help="Leave guests running; the next `up` finds them again.")
def down(state: str, keep_guests: bool) -> None:
    """Stop the cloud: the APIs first, then the guests, then what they stand on."""
    settings = settings_of(state)
    pid = running(settings)
    if pid is None:
        click.echo(f"no cloud is running in {settings.state}")
        return
    ask_to_stop(settings, pid, keep_guests)
    deadline = time.monotonic() + TIMEOUT_S
    while locked(settings):
        if time.monotonic() > deadline:
            raise click.ClickException(f"process {pid} did not end within {TIMEOUT_S:g} s")
        time.sleep(0.02)
    click.echo("stopped" + (", guests keep running" if keep_guests else ""))
