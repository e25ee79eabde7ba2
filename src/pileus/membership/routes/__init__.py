"""The URL map of membership, top to bottom."""

from pileus.membership.routes import agents

NOUNS = (agents,)
