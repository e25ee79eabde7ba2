"""pileus up: start everything."""

from __future__ import annotations

import json

import click

from pileus import statedir
from pileus.cli import secret
from pileus.cli.common import state_option
from pileus.cli.starting import image_folder_option, settings_with, start
from pileus.files import write_private
from pileus.jsontypes import Json
from pileus.settings import Settings
from pileus.statedir import StartFailed


@click.command()
@state_option
@click.option("--listen", metavar="HOST:PORT", help="Address of all APIs.  [default: 127.0.0.1:8780]")
@click.option("--name", metavar="NAME", help="The host's.  [default: this machine's]")
@click.option("--hypervisor", type=click.Choice(["auto", "libvirt", "fake"]), help="What runs the guests.")
@click.option("--network", type=click.Choice(["auto", "ovn", "fake"]), help="What connects them.")
@click.option("--fake-hosts", type=click.IntRange(0, 100_000), help="How many hosts the fake hypervisor simulates.")
@click.option("--database", metavar="URL", envvar="PILEUS_DATABASE", help="PostgreSQL's.  [default: a file; kept]")
@image_folder_option
@click.option("--netns", metavar="NAME", help="Run in this network namespace (made if missing).")
@click.option("--tunnel-device", metavar="DEVICE", help="For tunnels, where the kernel has no datapath.")
@click.option("--outbound-nat/--no-outbound-nat", default=None, help="NAT from the external network to the outside.")
@click.option("--tls-cert", metavar="FILE", help="Certificate (PEM): connections are encrypted.  [kept; '' ends it]")
@click.option("--tls-key", metavar="FILE", help="Its private key (PEM).")
@click.option("--tls-self-signed", is_flag=True, help="Make the certificate and the key, once.")
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="ADDRESS", help="X-Forwarded-* of it count.")
@click.option("--requests-per-second", type=click.FloatRange(0), help="Of one address, in the long run; 0: any number.")
@click.option("--admin-password", help="Password of admin at the first start (else random).")
@click.option("--detach", is_flag=True, help="Return once every API answers.")
def up(state: str, admin_password: str | None, detach: bool, tls_self_signed: bool, **options: Json) -> None:
    """Start the cloud: every API on one port, and the agent of this host."""
    secret.move_to_environment("--database", "PILEUS_DATABASE")
    settings = settings_with(state, options | {"role": "cloud"})
    secret.take("PILEUS_DATABASE")
    try:
        if tls_self_signed:
            _sign(settings)
        if admin_password:
            _keep_password(settings, admin_password)
    except (StartFailed, OSError) as error:
        raise click.ClickException(f"the cloud was not started: {error}") from error
    start(settings, detach)


def _sign(settings: Settings) -> None:
    from pileus.edge.certificate import self_signed

    made = self_signed(settings.tls_folder, settings.address[0])
    settings.tls_cert, settings.tls_key = map(str, made)


def _keep_password(settings: Settings, password: str) -> None:
    path = statedir.credentials_file(settings)
    if not path.exists():
        settings.directory.mkdir(parents=True, exist_ok=True, mode=0o711)
        statedir.check_directory(settings.directory)
        write_private(path, json.dumps({"admin": password}).encode())
