"""Tables of membership."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, Text
from sqlalchemy.orm import Mapped, mapped_column

from pileus.db import Base


class Authority(Base):
    """Who signs the certificates of the cloud's parts (membership/authority.py). Whoever reads the keys can speak for
    every part."""

    __tablename__ = "authority"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    certificate: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class JoinTokenRow(Base):
    """A token that machines may join with until it expires."""

    __tablename__ = "join_tokens"

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str]
    expires_at: Mapped[datetime]


class Agent(Base):
    """An agent that belongs to the cloud."""

    __tablename__ = "agents"

    name: Mapped[str] = mapped_column(primary_key=True)
    hosts: Mapped[str]
    """Which hosts are its own: a name, or a pattern with one asterisk (`agents.owns`)."""
    address: Mapped[str]
    """HOST:PORT on which it awaits replicas and other agents; "" while that is not known."""
    public_key: Mapped[str] = mapped_column(Text)
    """Of its certificate (PEM); who shows another, or joins again under its name with another, is not it."""
    next_key: Mapped[str] = mapped_column(Text, default="")
    """Of its newest certificate, which it may not have heard of; "" if that is its only one."""
    southbound: Mapped[str] = mapped_column(default="")
    """Where other hosts find OVN's central, if it is on this one."""
    northbound: Mapped[str] = mapped_column(default="")
    """HOST:PORT where replicas find its northbound database, if it is on this one."""
    replica_id: Mapped[str | None]
    """The replica that it shares a machine, and a state directory, with."""
    created_at: Mapped[datetime]

    @property
    def keys(self) -> tuple[str, ...]:
        """Of which its certificate has one; none while it has had none."""
        return tuple(filter(None, (self.public_key, self.next_key)))
