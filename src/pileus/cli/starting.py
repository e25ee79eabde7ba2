"""Starting what a machine is to be, in the foreground or not: `up`, `replica` and `agent` do it alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click

from pileus import holds, statedir
from pileus.edge.forwarding import Proxies
from pileus.jsontypes import Values
from pileus.settings import Settings, load, save
from pileus.statedir import StartFailed

image_folder_option = click.option(
    "--image-folder", metavar="DIR", help="Where images are: a folder that all replicas share.  [kept]"
)


def settings_with(state: str, options: Values) -> Settings:
    """What an earlier start used, changed by what is given now.

    Raises:
        click.UsageError: it cannot be used.
    """
    settings = load(state)
    if (settings.directory / "settings.json").exists() and options["role"] != settings.role:
        raise click.UsageError(f"{settings.state} is the state of a {settings.role}: name another directory")
    for name, value in options.items():
        if value is not None and value != ():
            setattr(settings, name, list(value) if isinstance(value, tuple) else value)
    try:
        _ = settings.address
        Proxies(settings.trusted_proxies)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name in ("tls_cert", "tls_key", "image_folder"):
        if path := getattr(settings, name):
            setattr(settings, name, str(Path(path).absolute()))
    if settings.tls_cert and not settings.tls_key:
        raise click.UsageError("--tls-cert wants --tls-key")
    return settings


def start(settings: Settings, detach: bool, before: Callable[[], None] = lambda: None) -> None:
    """Be the supervisor, or leave one running once all is up.

    Args:
        before: done once the state directory is this process's.

    Raises:
        click.ClickException: something did not start; nothing is left running.
    """
    try:
        if detach:
            _run_in_background(settings, before)
        else:
            _run(settings, sys.stdout.fileno(), before)
    except (StartFailed, OSError, ValueError) as error:
        raise click.ClickException(f"the {settings.role} was not started: {error}") from error


def _run_in_background(settings: Settings, before: Callable[[], None]) -> None:
    """Fork the supervisor; wait until it says that all is up, or why not."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        os.setsid()
        status = 1
        try:
            _run(settings, writer, before)
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
    raise click.ClickException(f"the {settings.role} was not started: {failed}")


def _run(settings: Settings, report: int, before: Callable[[], None]) -> None:
    """Be the supervisor: start, report on the descriptor `report`, watch until asked to stop."""
    from pileus import cloud, logs, supervisor

    detached = report != sys.stdout.fileno()
    statedir.lock(settings)  # until this process has ended: `down` waits for that
    listener = supervisor.prepare(settings)
    before()
    save(settings)
    if listener:
        cloud.services(settings)  # an invalid policy file is refused before anything runs
    logs.start(statedir.log_file(settings), detached)
    holds.warn()

    def tell(line: str) -> None:
        os.write(report, f"{line}\n".encode())

    tell(f"pileus: starting in {settings.state}")
    family = supervisor.Supervisor(settings, listener, lambda line: tell(f"  {line}"))
    settings.pidfile.write_text(f"{os.getpid()}\n")
    try:
        family.start()
        ready = f"{settings.url}/identity" if listener else f"agent {settings.name}"
        tell(f"up {ready}" if detached else f"  ready: {ready}")
        if detached:
            os.close(report)
        family.watch()
    finally:
        settings.pidfile.unlink(missing_ok=True)
