"""pileus host: which cloud a machine belongs to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import select

from pileus.cli import tables
from pileus.cli.common import agents_cloud, database, refused, say, settings_of, state_option
from pileus.errors import PileusError
from pileus.files import write_private
from pileus.settings import Settings
from pileus.users import act_as_root

if TYPE_CHECKING:
    from pileus.db import Session


@click.group()
def host() -> None:
    """Look after hosts: this machine, or those that joined."""


@host.command()
@state_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def take(state: str, yes: bool) -> None:
    """Give this machine's agent to this state's cloud, after the database was replaced. No guest is touched."""
    from pileus.operations.ids import cloud_id

    settings = settings_of(state)
    if settings.role == "replica":
        raise click.ClickException("no agent runs where a replica does: its machine is no host")
    with database(settings).read() as session:
        ours, theirs = cloud_id(session), agents_cloud(settings)
        if not ours:
            raise click.ClickException("the cloud has no id yet; start it once with `pileus up`")
        if theirs == ours:
            click.echo("the agent serves this cloud")
            return
        if theirs:
            _announce(settings, theirs, session)
    if theirs and not yes:
        click.confirm(f"Give the agent of cloud {theirs} to cloud {ours}?", abort=True)
    path = settings.directory / "agent" / "cloud"
    if os.getuid() == 0:
        act_as_root()  # the agent's, not the database's
    try:
        write_private(path, ours.encode())
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"the agent serves cloud {ours} from now on")


@host.command()
@state_option
@click.argument("name")
def show(state: str, name: str) -> None:
    """Show what a host has: amounts and what of them is used, NUMA cells, PCI devices."""
    from pileus.compute import hypervisors
    from pileus.compute.model import Host

    with database(settings_of(state)).read() as session:
        found = session.get(Host, name)
        if found is None:
            raise click.ClickException(f"there is no host {name}")
        say(f"host       {found.name}, {'up' if found.alive else 'down'}" + (", disabled" if found.disabled else ""))
        say(f"address    {found.host_ip}")
        use = hypervisors.use(session, [found])[found.name]
        click.echo(f"servers    {use.running_vms}")
        click.echo(f"vCPUs      {use.vcpus_used} of {use.vcpus} used")
        click.echo(f"memory     {use.memory_mb_used} of {use.memory_mb} MiB used")
        click.echo(f"disk       {use.local_gb_used} of {use.local_gb} GiB used")
        for table in (tables.numa_cells(found.hardware.cells), tables.pci_devices(found.hardware.devices)):
            if table.row_count:
                tables.console().print(table)


@host.command()
@state_option
@click.argument("name")
def forget(state: str, name: str) -> None:
    """Let a host that joined not belong to the cloud any more, so that one of its name can join again. Nothing is done
    on it; what the cloud knows of its servers stays."""
    from pileus.membership import agents

    settings = settings_of(state)
    try:
        with database(settings).write() as session:
            agents.forget(session, name)
    except PileusError as error:
        raise refused(error) from error
    click.echo(f"{name} may join again")


def _announce(settings: Settings, theirs: str, session: Session) -> None:
    """Say which of the agent's guests this cloud will not know."""
    found = _guests(settings, theirs)
    if found is None:
        click.echo("The agent does not run: what it has will be in `pileus guest list` once the cloud is up.")
        return
    unknown = [pair for pair in found if not _known(session, *pair)]
    click.echo(
        f"{len(found)} guests are on this machine, {len(unknown)} of them no server of this cloud's accounts for"
    )
    for name, server_id in unknown:
        say(f"  {name} {server_id}")
    if unknown:
        click.echo("These go on running, as unknown guests: `pileus guest adopt` or `discard` decides about each.")


def _guests(settings: Settings, theirs: str) -> list[tuple[str, str]] | None:
    """Host and id of each guest that the agent has; None if it does not answer."""
    from pileus.operations.questions import ask
    from pileus.operations.wires import Local

    try:
        report: dict[str, Any] = ask(Local(settings.agent_socket), "/report", theirs)["report"]
    except PileusError:
        return None
    return [(one["name"], guest["server_id"]) for one in report["hosts"] for guest in one.get("guests", ())]


def _known(session: Session, host_name: str, server_id: str) -> bool:
    from pileus.compute.model import Server

    here = (Server.id == server_id, Server.host == host_name, Server.deleted_at.is_(None))
    return session.scalar(select(Server.id).where(*here)) is not None
