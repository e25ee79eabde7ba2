"""pileus lab: a cloud of several hosts on one machine."""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from pathlib import Path

import click

from pileus.cli.lab_fault import fault
from pileus.cli.lab_options import LabCommand, lab_option
from pileus.lab import MOST_HOSTS, MOST_REPLICAS, Lab, LabFailed, Plan
from pileus.lab.faults import Faults


@click.group()
def lab() -> None:
    """A cloud of several hosts on this machine, each in a network namespace, without a way out."""


@lab.command(cls=LabCommand)
@lab_option
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
    made.up(plan)
    program = f"{shlex.quote(sys.executable)} -m pileus"
    click.echo(
        f"{hosts} hosts, the APIs at {', '.join(f'http://{place.listen}' for place in plan.replicas)}. To use it:"
    )
    for place in plan.replicas:
        there = shlex.quote(str(made.state(place)))
        click.echo(f'    eval "$({program} openrc --state {there})"; {" ".join(place.inside)} openstack server list')
    click.echo(f"    {program} status --state {shlex.quote(str(made.state(plan.host(1))))}")
    click.echo("To remove it:")
    click.echo(f"    {program} lab down --state {shlex.quote(state)}")


@lab.command(cls=LabCommand)
@lab_option
def down(state: str) -> None:
    """Remove it: guests, disks, processes, namespaces, files."""
    made = Lab(Path(state).absolute())
    with suppress(LabFailed):  # what cannot be healed goes all the same
        Faults(made).heal()  # what was killed, or stands still, has things to remove
    made.down()
    click.echo("removed")


lab.add_command(fault)
