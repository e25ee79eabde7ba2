"""pileus openrc, pileus clouds-yaml: credentials for clients."""

from __future__ import annotations

import json
import shlex

import click

from pileus.cli.common import settings_of, state_option
from pileus.jsontypes import Values
from pileus.settings import Settings
from pileus.statedir import credentials_file


def _passwords(settings: Settings) -> dict[str, str]:
    try:
        return dict(json.loads(credentials_file(settings).read_text()))
    except OSError as error:
        raise click.ClickException(f"the credentials cannot be read: {error.strerror}") from error


@click.command()
@state_option
@click.option("--project", type=click.Choice(["admin", "demo", "alt_demo"]), default="admin", show_default=True)
def openrc(state: str, project: str) -> None:
    """Print `export OS_...` lines for a shell: eval "$(pileus openrc)"."""
    settings = settings_of(state)
    values = {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": f"{settings.url}/identity",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": project,
        "OS_PASSWORD": _passwords(settings)[project],
        "OS_PROJECT_NAME": project,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": settings.region,
        "OS_VOLUME_API_VERSION": "3",
    }
    if settings.ca_file:
        values["OS_CACERT"] = settings.ca_file
    for name, value in values.items():
        click.echo(f"export {name}={shlex.quote(value)}")


@click.command("clouds-yaml")
@state_option
def clouds_yaml(state: str) -> None:
    """Print a clouds.yaml with the clouds admin, demo, alt_demo and system-admin."""
    settings = settings_of(state)
    passwords = _passwords(settings)
    # JSON is YAML; one cloud a line keeps it readable.
    click.echo("clouds:")
    for name in ("admin", "demo", "alt_demo"):
        scope = {"project_name": name, "project_domain_name": "Default"}
        click.echo(f"  {name}: {json.dumps(_cloud(settings, name, passwords[name], scope))}")
    system = _cloud(settings, "admin", passwords["admin"], {"system_scope": "all"})
    click.echo(f"  system-admin: {json.dumps(system)}")


def _cloud(settings: Settings, user: str, password: str, scope: dict[str, str]) -> Values:
    auth = {
        "auth_url": f"{settings.url}/identity",
        "username": user,
        "password": password,
        "user_domain_name": "Default",
        **scope,
    }
    verified = {"cacert": settings.ca_file} if settings.ca_file else {}
    return {"auth": auth, "region_name": settings.region, "identity_api_version": 3, **verified}
