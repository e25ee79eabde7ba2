"""pileus guest: guests that hosts report and no server accounts for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from pileus.cli import tables
from pileus.cli.common import database, refused, say, settings_of, state_option
from pileus.errors import PileusError

if TYPE_CHECKING:
    from pileus.agent.commands import GuestSpec
    from pileus.compute.unknown import Adopted
    from pileus.operations.wires import Way


@click.group()
def guest() -> None:
    """Decide about guests that are on a host and in no row of the database. Nothing else ever touches them."""


@guest.command("list")
@state_option
def list_guests(state: str) -> None:
    """Print every unknown guest. Hosts report each minute."""
    from pileus.compute import unknown

    with database(settings_of(state)).read() as session:
        rows = unknown.everyone(session)
    if rows:
        tables.console().print(tables.unknown_guests(rows))
    else:
        click.echo("no guest is unknown")


def _guest_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """An id in its usual form: it becomes part of paths on the host."""
    try:
        if str(uuid.UUID(value)) == value:
            return value
    except ValueError:
        pass
    raise click.BadParameter("it must be a UUID, as `pileus guest list` prints it")


_host = click.argument("host")
_id = click.argument("server_id", callback=_guest_id)


@guest.command()
@state_option
@_host
@_id
def discard(state: str, host: str, server_id: str) -> None:
    """Have a host destroy an unknown guest, its disks included."""
    from pileus.compute import unknown

    with _said(), database(settings_of(state)).write() as session:
        unknown.discard(session, host, server_id)
    click.echo(f"host {host} is owed the discarding of {server_id}; the running cloud sees to it")


@guest.command()
@state_option
@_host
@_id
@click.option("--project", metavar="NAME_OR_ID", help="Who is to have it.  [default: the guest's own project]")
@click.option("--flavor", metavar="NAME_OR_ID", help="What it counts as.  [default: the flavor of its sizes]")
@click.option("--user", metavar="NAME_OR_ID", default="admin", show_default=True, help="Who is its user.")
def adopt(state: str, host: str, server_id: str, project: str | None, flavor: str | None, user: str) -> None:
    """Make a server of an unknown guest, as it runs: same id, disks, MACs and addresses. Needs the host's agent."""
    from pileus.compute import unknown
    from pileus.membership.members import Members
    from pileus.operations.ids import cloud_id

    settings = settings_of(state)
    db = database(settings)
    with _said():
        with db.read() as session:
            unknown.get(session, host, server_id)
            cloud = cloud_id(session)
        told = _remembered(Members(db, settings).way_to(host), cloud, host, server_id)
        request_id = f"req-{uuid.uuid4()}"
        with db.write() as session:
            adopted = unknown.adopt(
                session, host, server_id, told, request_id, project=project, flavor=flavor, user=user
            )
    _tell(adopted)


def _remembered(agent: Way, cloud: str, host: str, server_id: str) -> GuestSpec:
    """What the guest was last built with, as its agent remembers it."""
    import msgspec

    from pileus.agent.commands import GuestSpec
    from pileus.operations.questions import ask

    try:
        return msgspec.convert(ask(agent, "/guest", cloud, host=host, server_id=server_id), GuestSpec)
    except msgspec.ValidationError as error:
        raise click.ClickException(f"what host {host} remembers of the guest is not understood: {error}") from error


def _tell(adopted: Adopted) -> None:
    server = adopted.server
    say(f"server     {server.id} {server.name}, {server.vm_state} on {server.host}")
    say(f"project    {server.project_id}")
    say(f"flavor     {server.flavor.name}")
    if adopted.ports or adopted.lost:
        say(f"ports      {adopted.ports} as before, {len(adopted.lost)} lost")
    for sentence in adopted.lost:
        say(f"lost       {sentence}")


@contextmanager
def _said() -> Iterator[None]:
    """What a verb refuses is told, not traced."""
    try:
        yield
    except PileusError as error:
        raise refused(error) from error
