"""pileus lab: a cloud of several hosts on one machine."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path

import click

from pileus.agent.errors import CommandFailed
from pileus.cli.lab_fault import fault
from pileus.lab import MOST_HOSTS, MOST_REPLICAS, Lab, LabFailed, Plan
from pileus.lab.faults import Faults

directory_option = click.option(
    "--state", default="/var/lib/pileus-lab", show_default=True, metavar="DIR", help="State directory of the lab."
)


@click.group()
def lab() -> None:
    """A cloud of several hosts on this machine, each in a network namespace, without a way out."""


@lab.command()
@directory_option
@click.option("--hosts", type=click.IntRange(1, MOST_HOSTS), default=3, show_default=True, help="How many.")
@click.option(
    "--replicas", type=click.IntRange(1, MOST_REPLICAS), default=1, show_default=True,
    help="Of the control plane; several share a PostgreSQL of the lab's own.",
)  # fmt: skip
@click.option("--hypervisor", type=click.Choice(["auto", "libvirt", "fake"]), default="auto", show_default=True)
@click.option("--disk", type=click.IntRange(1), metavar="GIB", help="Give each host a disk of its own for its guests.")
def up(state: str, hosts: int, replicas: int, hypervisor: str, disk: int | None) -> None:
    """Build it: own libvirtd and OVN chassis a host, tunnels between them, agents joined by mutual TLS."""
    plan, made = Plan(hosts, hypervisor, replicas, disk or 0), Lab(Path(state).absolute())
    try:
        made.up(plan)
    except LabFailed as error:
        raise click.ClickException(str(error)) from error
    program = f"{shlex.quote(sys.executable)} -m pileus"
    places = [plan.host(1), *plan.others]
    click.echo(f"{hosts} hosts, the APIs at {', '.join(f'http://{place.listen}' for place in places)}. To use it:")
    for place in places:
        there = shlex.quote(str(made.state(place)))
        click.echo(f'    eval "$({program} openrc --state {there})"; {" ".join(place.inside)} openstack server list')
    click.echo(f"    {program} status --state {shlex.quote(str(made.state(plan.host(1))))}")
    click.echo("To remove it:")
    click.echo(f"    {program} lab down --state {shlex.quote(state)}")


@lab.command()
@directory_option
def down(state: str) -> None:
    """Remove it: guests, disks, processes, namespaces, files."""
    made = Lab(Path(state).absolute())
    try:
        with suppress(CommandFailed, LabFailed):  # what cannot be healed goes all the same
            Faults(made).heal()  # what was killed, or stands still, has things to remove
        made.down()
    except LabFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo("removed")


lab.add_command(fault)
