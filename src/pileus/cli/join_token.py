"""pileus join-token: let machines join."""

from __future__ import annotations

import click

from pileus.cli.common import database, settings_of, state_option


@click.command("join-token")
@state_option
@click.option("--revoke", is_flag=True, help="Take back every token that was printed before, and print none.")
def join_token(state: str, revoke: bool) -> None:
    """Print a token that machines join with (`pileus agent --join URL --token TOKEN`), for a day."""
    from pileus.membership import agents

    settings = settings_of(state)
    with database(settings).write() as session:
        if revoke:
            click.echo(f"{agents.take_tokens_back(session)} taken back")
            return
        token = agents.issue_token(session, settings.join_token_lifetime_s)
    click.echo(token)
