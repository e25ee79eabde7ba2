"""pileus lab fault: let something go wrong in a lab, now or when an operation comes to a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pileus.cli.lab_options import LabCommand, lab_option
from pileus.lab import Lab
from pileus.lab.faults import PROCESSES, Faults

STEP_S = 600.0
_WHEN = (
    click.option(
        "--at",
        metavar="STEP",
        help="Wait until an operation begins this step, as `pileus trace` names it; STEP:after: ends.",
    ),
    click.option("--on", multiple=True, metavar="HOST", help="Where the step is waited for; on any host if not given."),
    click.option("--within", default=STEP_S, show_default=True, metavar="S", help="How long it is waited for."),
    click.option("--for", "seconds", type=float, metavar="S", help="Heal the lab after so many seconds."),
)


def _given_faults(make: Callable[..., None]) -> Callable[..., None]:
    """A verb of what is given the lab's faults, and its own parameters by name: when it is done, and for how long, is
    the same for all."""

    @wraps(make)
    def verb(
        state: str,
        at: str | None = None,
        on: tuple[str, ...] = (),
        within: float = STEP_S,
        seconds: float | None = None,
        **values: Any,
    ) -> None:
        faults = Faults(Lab(Path(state).absolute()))
        if at:
            with faults.at(at, on or faults.names, within, lambda: click.echo(f"waiting for {at}")) as host:
                click.echo(f"begun on {host}")
                make(faults, **values)
        else:
            make(faults, **values)
        if seconds is not None:
            try:
                time.sleep(seconds)
            finally:
                faults.heal()

    return verb


@click.group()
def fault() -> None:
    """Let something go wrong, now or at a step: a cut or slow link, a process that is killed or stands still, a full
    disk. Hosts are named as in the cloud: lab-1 is the control plane's, too."""


def _command(make: Callable[..., None]) -> click.Command:
    command: click.Command = fault.command(cls=LabCommand)(_given_faults(make))
    for option in (*_WHEN, lab_option):
        option(command)
    return command


def _process(make: Callable[..., None]) -> Callable[..., None]:
    make = click.option("--server", metavar="ID", help="Whose QEMU is meant; every server's if not given.")(make)
    return click.argument("host")(click.argument("process", type=click.Choice(PROCESSES))(make))


@_command
@click.argument("host")
@click.argument("other", required=False)
def cut(faults: Faults, host: str, other: str | None) -> None:
    """Cut HOST's link, or the one to OTHER.

    What is sent is lost without a word, also in connections that there are.
    """
    faults.cut(host, other)


@_command
@click.argument("host")
@click.option("--kbit", default=1000, show_default=True, type=click.IntRange(8), help="Kilobits a second.")
def slow(faults: Faults, host: str, kbit: int) -> None:
    """Slow HOST's link down."""
    faults.slow(host, kbit)


@_command
@_process
def kill(faults: Faults, host: str, process: str, server: str | None) -> None:
    """Kill -9 a process on HOST.

    What the cloud looks after is started again by it; a supervisor, with all that it looks after, by `heal`.
    """
    faults.kill(host, process, server)


@_command
@_process
def pause(faults: Faults, host: str, process: str, server: str | None) -> None:
    """Have a process on HOST stand still."""
    faults.pause(host, process, server)


@_command
@click.argument("host")
def fill(faults: Faults, host: str) -> None:
    """Fill the disk of HOST's guests.

    The lab must have been made with --disk.
    """
    faults.fill(host)


@fault.command(cls=LabCommand)
@lab_option
@_given_faults
def heal(faults: Faults) -> None:
    """Mend every fault.

    Links are as they were, what stands still goes on, disks have room, supervisors that were killed run again.
    """
    faults.heal()
