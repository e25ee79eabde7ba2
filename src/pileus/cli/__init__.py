"""The command line: one file a verb."""

from __future__ import annotations

import click

from pileus import __version__
from pileus.cli import agent, credentials, db, debt, down, guest, host, join_token, lab, replica, status, top, trace, up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pileus")
def main() -> None:
    """Pileus: an OpenStack-compatible compute cloud in one program."""


for command in (
    up.up,
    replica.replica,
    join_token.join_token,
    agent.agent,
    down.down,
    status.status,
    top.top,
    credentials.openrc,
    credentials.clouds_yaml,
    trace.trace,
    guest.guest,
    debt.debt,
    host.host,
    lab.lab,
    db.db,
):
    main.add_command(command)
