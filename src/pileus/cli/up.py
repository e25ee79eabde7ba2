"""pileus up: start everything."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from pileus import statedir
from pileus.cli.common import state_option
from pileus.edge.forwarding import Proxies
from pileus.files import write_private
from pileus.jsontypes import Json, Values
from pileus.settings import Settings, load
from pileus.statedir import StartFailed


@click.command()
@state_option
@click.option("--listen", metavar="HOST:PORT", help="Address of all APIs.  [default: 127.0.0.1:8780]")
@click.option("--hypervisor", type=click.Choice(["auto", "libvirt", "fake"]), help="What runs the guests.")
@click.option("--network", type=click.Choice(["auto", "ovn", "fake"]), help="What connects them.")
@click.option("--fake-hosts", type=click.IntRange(0, 100_000), help="How many hosts the fake hypervisor simulates.")
@click.option("--netns", metavar="NAME", help="Run in this network namespace (made if missing).")
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
    settings = _settings(state, options)

    try:
        if tls_self_signed:
            _sign(settings)
        if admin_password:
            _keep_password(settings, admin_password)
        if not detach:
            _run(settings, sys.stdout.fileno())
            return
        _run_in_background(settings)
    except (StartFailed, OSError, ValueError) as error:
        raise click.ClickException(f"the cloud was not started: {error}") from error


def _settings(state: str, options: Values) -> Settings:
    """What an earlier start used, changed by what is given now."""
    settings = load(state)
    for name, value in options.items():
        if value is not None and value != ():
            setattr(settings, name, list(value) if isinstance(value, tuple) else value)
    try:
        _ = settings.address
        Proxies(settings.trusted_proxies)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name in ("tls_cert", "tls_key"):
        if path := getattr(settings, name):
            setattr(settings, name, str(Path(path).absolute()))
    if settings.tls_cert and not settings.tls_key:
        raise click.UsageError("--tls-cert wants --tls-key")
    return settings


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


def _run_in_background(settings: Settings) -> None:
    """Fork the supervisor; wait until it says that all is up, or why not."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os.setsid()
        status = 1
        try:
            _run(settings, writer)
            status = 0
        except Exception as error:
            os.write(writer, f"failed {error}\n".encode())
        finally:
            os._exit(status)
    os.close(writer)
    failed = "the supervisor ended"
    with os.fdopen(reader) as lines:
        for line in lines:
            if line.startswith("up "):
                click.echo(line[3:].strip())
                return
            if line.startswith("failed "):
                failed = line[7:].strip()
                continue
            click.echo(line.rstrip(), err=True)
    raise click.ClickException(f"the cloud was not started: {failed}")


def _run(settings: Settings, report: int) -> None:
    """Be the supervisor: start, report on the descriptor `report`, watch until asked to stop."""
    from pileus import cloud, logs, supervisor

    detached = report != sys.stdout.fileno()
    statedir.lock(settings)  # until this process has ended: `down` waits for that
    listener = supervisor.prepare(settings)
    cloud.services(settings)  # an invalid policy file is refused before anything runs
    logs.start(statedir.log_file(settings), detached)

    def tell(line: str) -> None:
        os.write(report, f"{line}\n".encode())

    tell(f"pileus: starting in {settings.state}")
    family = supervisor.Supervisor(settings, listener, lambda line: tell(f"  {line}"))
    settings.pidfile.write_text(f"{os.getpid()}\n")
    try:
        family.start()
        tell(f"up {settings.url}/identity" if detached else f"  identity: {settings.url}/identity")
        if detached:
            os.close(report)
        family.watch()
    finally:
        settings.pidfile.unlink(missing_ok=True)
