"""pileus agent: this machine as a host of a cloud elsewhere."""

from __future__ import annotations

import socket

import click

from pileus.addresses import host_port
from pileus.agent import joining
from pileus.agent.errors import CommandFailed
from pileus.agent.main import choose_hypervisor, choose_network
from pileus.cli import secret
from pileus.cli.common import state_option
from pileus.cli.starting import settings_with, start
from pileus.jsontypes import Json
from pileus.membership.agents import is_name
from pileus.settings import Settings, load
from pileus.statedir import StartFailed


@click.command()
@state_option
@click.option("--join", metavar="URL", help="Of the cloud, such as http://10.0.0.1:8780; wanted the first time.")
@click.option("--token", metavar="TOKEN", envvar="PILEUS_JOIN_TOKEN", help="What `pileus join-token` printed there.")
@click.option("--name", metavar="NAME", help="The host's.  [default: this machine's]")
@click.option("--listen", "agent_listen", metavar="HOST:PORT", help="Where replicas find it.  [default: any port]")
@click.option("--hypervisor", type=click.Choice(["auto", "libvirt", "fake"]), help="What runs the guests.")
@click.option("--network", type=click.Choice(["auto", "ovn", "fake"]), help="What connects them.")
@click.option("--tunnel-device", metavar="DEVICE", help="For tunnels, where the kernel has no datapath.")
@click.option("--netns", metavar="NAME", help="Run in this network namespace (made if missing).")
@click.option("--fake-hosts", type=click.IntRange(1, 100_000), help="How many hosts the fake hypervisor simulates.")
@click.option("--detach", is_flag=True, help="Return once it accepts commands.")
def agent(state: str, join: str | None, token: str | None, detach: bool, **options: Json) -> None:
    """Make this machine a host of a cloud, by mutual TLS; its certificate is renewed by itself."""
    if bool(join) != bool(token):
        raise click.UsageError("--join and --token go together")
    secret.move_to_environment("--token", "PILEUS_JOIN_TOKEN")
    secret.take("PILEUS_JOIN_TOKEN")
    secret.take("PILEUS_DATABASE")  # a replica's business
    former = load(state)
    settings = settings_with(state, options | {"role": "agent"})
    settings.name = settings.name or socket.gethostname()
    if not is_name(settings.name):
        raise click.UsageError(f"{settings.name!r} is no name of a host")
    if former.name and not join and (settings.name, settings.agent_listen) != (former.name, former.agent_listen):
        raise click.UsageError("another --name or --listen wants --join: its cloud knows it by the former")
    settings.hypervisor = choose_hypervisor(settings.hypervisor)
    settings.network = choose_network(settings.network, settings.hypervisor)

    def before() -> None:
        if join and token:
            _join(settings, join, token)
        elif not (settings.directory / "agent" / "cloud").exists():
            raise StartFailed("it belongs to no cloud yet: --join and --token are wanted")

        if settings.network == "ovn" and not settings.southbound:
            raise StartFailed("the cloud has no OVN central for other hosts: has its own host any certificate yet?")

    start(settings, detach, before)


def _join(settings: Settings, url: str, token: str) -> None:
    try:
        if not settings.agent_listen:
            settings.agent_listen = _free(joining.own_address(url))
        host, _, port = settings.agent_listen.rpartition(":")
        folder = settings.directory / "agent"
        listen, simulates = (host.strip("[]"), int(port)), settings.hypervisor == "fake"
        settings.southbound = joining.join(folder, url, token, settings.name, listen, simulates)
    except CommandFailed as error:
        if not (settings.directory / "agent" / "cloud").exists():
            raise StartFailed(error.message) from error
        click.echo(f"it has joined before, and goes on as it did: {error.message}", err=True)


def _free(host: str) -> str:
    """HOST:PORT with a port that nobody listens on."""
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as found:
        return host_port(host, found.getsockname()[1])
