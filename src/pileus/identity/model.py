"""Tables of identity."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from pileus.db import Base
from pileus.db.tags import Tagged
from pileus.identity.generation import Generational


class Domain(Generational, Base):
    """A namespace of projects and users."""

    __tablename__ = "domains"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    description: Mapped[str] = mapped_column(default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    tokens_valid_from: Mapped[datetime | None]
    """When it was last disabled (`voids`)."""


class Project(Tagged, Generational, Base):
    """What owns servers, networks, images and quotas."""

    __tablename__ = "projects"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    description: Mapped[str] = mapped_column(default="")
    enabled: Mapped[bool] = mapped_column(default=True)
    extra: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tokens_valid_from: Mapped[datetime | None]
    """When it was last disabled (`voids`)."""


class User(Generational, Base):
    """Somebody who can authenticate."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    domain_id: Mapped[str] = mapped_column(ForeignKey("domains.id"))
    default_project_id: Mapped[str | None]
    description: Mapped[str | None]
    email: Mapped[str | None]
    enabled: Mapped[bool] = mapped_column(default=True)
    password_hash: Mapped[str | None]
    extra: Mapped[dict[str, Any]] = mapped_column(default=dict)
    tokens_valid_from: Mapped[datetime]
    """When its password last changed, or it was last disabled (`voids`)."""


class Role(Generational, Base):
    """A name that policies grant rights to."""

    __tablename__ = "roles"
    __table_args__ = (UniqueConstraint("domain_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    domain_id: Mapped[str | None]
    description: Mapped[str | None]


class ImpliedRole(Generational, Base):
    """Who has the prior role has the implied one too."""

    __tablename__ = "implied_roles"

    prior_id: Mapped[str] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    implied_id: Mapped[str] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)


class Assignment(Generational, Base):
    """A user's role on a project, a domain or the system."""

    __tablename__ = "role_assignments"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    role_id: Mapped[str] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    """project, domain or system."""
    target_id: Mapped[str] = mapped_column(primary_key=True)
    """The project's or domain's id; "all" for the system."""


class RoleRemoval(Generational, Base):
    """When a role of a user on a project, a domain or the system was last taken away (`voids`)."""

    __tablename__ = "role_removals"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    scope: Mapped[str] = mapped_column(primary_key=True)
    target_id: Mapped[str] = mapped_column(primary_key=True)
    removed_at: Mapped[datetime]


class Revocation(Generational, Base):
    """A token taken back before it expired."""

    __tablename__ = "revoked_tokens"

    audit_id: Mapped[str] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class TokenKey(Base):
    """A Fernet key: the newest encrypts, all decrypt; kept here so that every replica has the same."""

    __tablename__ = "token_keys"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class FirstPassword(Base):
    """The password that one of the first users was made with, where several replicas share the database: each shows it
    to its operator."""

    __tablename__ = "first_passwords"

    name: Mapped[str] = mapped_column(primary_key=True)
    password: Mapped[str]
