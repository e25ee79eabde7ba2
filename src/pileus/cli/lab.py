"""pileus lab: a cloud of several hosts on one machine."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from pileus.lab import MOST_HOSTS, MOST_REPLICAS, Lab, LabFailed, Plan

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
def up(state: str, hosts: int, replicas: int, hypervisor: str) -> None:
    """Build it: own libvirtd and OVN chassis a host, tunnels between them, agents joined by mutual TLS."""
    plan, made = Plan(hosts, hypervisor, replicas=replicas), Lab(Path(state).absolute())
    try:
        made.up(plan)
    except LabFailed as error:
        raise click.ClickException(str(error)) from error
    program = f"{shlex.quote(sys.executable)} -m pileus"
    places = [plan.place(number) for number in range(1, replicas + 1)]
    click.echo(f"{hosts} hosts, the APIs at {', '.join(f'http://{place.listen}' for place in places)}. To use it:")
    for number, place in enumerate(places, 1):
        there = shlex.quote(str(made.replica_state(number)))
        click.echo(f'    eval "$({program} openrc --state {there})"; {" ".join(place.inside)} openstack server list')
    click.echo(f"    {program} status --state {shlex.quote(str(made.state(1)))}")
    click.echo("To remove it:")
    click.echo(f"    {program} lab down --state {shlex.quote(state)}")


@lab.command()
@directory_option
def down(state: str) -> None:
    """Remove it: guests, disks, processes, namespaces, files."""
    try:
        Lab(Path(state).absolute()).down()
    except LabFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo("removed")
