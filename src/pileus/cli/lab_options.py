"""What the verbs of `pileus lab` share: the option that names the lab, and how they say what cannot be done."""

from __future__ import annotations

from typing import Any

import click

from pileus.lab import LabFailed

lab_option = click.option(
    "--state", default="/var/lib/pileus-lab", show_default=True, metavar="DIR", help="State directory of the lab."
)


class LabCommand(click.Command):
    """A verb whose LabFailed is told in a line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LabFailed as error:
            raise click.ClickException(str(error)) from error
