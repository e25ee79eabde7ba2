"""What tenants read of hosts, and of their agents: not their names."""

from __future__ import annotations

import re

from sqlalchemy import select

from pileus.compute.model import Host
from pileus.db import Session
from pileus.membership import agents

_WORD = re.compile(r"\w(?:[\w.-]*\w)?")
"""What may be a host's name."""


def unnamed(session: Session, text: str) -> str:
    """A sentence with numbers in place of the names of hosts: "Host #1: ..."; who may see them has the whole."""
    words = list(dict.fromkeys(_WORD.findall(text)))
    names = set(session.scalars(select(Host.name).where(Host.name.in_(words)))) if words else set()
    names |= agents.named(session, words)  # a host whose service was deleted is its agent's still
    numbers = {name: f"#{number}" for number, name in enumerate((word for word in words if word in names), 1)}
    return _WORD.sub(lambda word: numbers.get(word[0], word[0]), text)
