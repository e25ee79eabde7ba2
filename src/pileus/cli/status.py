"""pileus status: what runs."""

from __future__ import annotations

import click
from sqlalchemy import func, select

from pileus.cli.common import database, settings_of, state_option


@click.command()
@state_option
def status(state: str) -> None:
    """Show whether the cloud runs, its hosts, servers and operations under way. Exit 3 when it is down."""
    from pileus.compute.model import Host, Server
    from pileus.operations import OperationRow
    from pileus.supervisor import running

    settings = settings_of(state)
    pid = running(settings)
    click.echo(f"cloud      {'running, pid ' + str(pid) if pid else 'down'}")
    click.echo(f"state      {settings.state}")
    click.echo(f"identity   {settings.url}/identity" + (f" in namespace {settings.netns}" if settings.netns else ""))
    db = database(settings)
    with db.read() as session:
        hosts = list(session.scalars(select(Host)))
        counted = session.execute(
            select(Server.vm_state, func.count()).where(Server.deleted_at.is_(None)).group_by(Server.vm_state)
        )
        servers = ", ".join(f"{count} {state}" for state, count in counted) or "none"
        live = session.scalar(select(func.count()).where(OperationRow.finished_at.is_(None)))
    kinds = ", ".join(sorted({host.hypervisor_type for host in hosts}))
    up = sum(host.alive for host in hosts) if pid else 0
    click.echo(f"hosts      {len(hosts)}, {up} up" + (f" ({kinds})" if kinds else ""))
    click.echo(f"servers    {servers}")
    click.echo(f"operations {live} under way")
    if pid is None:
        raise SystemExit(3)
