"""The URL map of identity, top to bottom."""

from pileus.identity.routes import tokens, versions

NOUNS = (versions, tokens)
