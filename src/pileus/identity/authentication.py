"""Authentication: an identity and a scope, as the body of POST /v3/auth/tokens names them, become a token."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from pileus.db import Session
from pileus.errors import Invalid, Unauthenticated
from pileus.identity.model import Domain, Project, User
from pileus.identity.passwords import check_password
from pileus.identity.tokens import Payload, Scope, TokenInfo, Tokens

REFUSED = "The request you have made requires authentication."


def authenticate(session: Session, tokens: Tokens, auth: dict[str, Any], rounds: int) -> tuple[str, TokenInfo]:
    """Check the identity and issue a token for the scope.

    Args:
        auth: the body's "auth" object, validated.
        rounds: bcrypt's cost.

    Raises:
        Unauthenticated: wrong credentials, or no access to the scope. Invalid: a method that is not served.
    """
    methods = tuple(auth["identity"]["methods"])
    user, parent = None, None
    for method in methods:
        if method not in auth["identity"]:
            raise Invalid(f"auth.identity.{method} is required by the method {method}.")
        given = auth["identity"][method]
        if method == "password":
            found = _by_password(session, given["user"], rounds)
        elif method == "token":
            info = tokens.read(session, given["id"])
            found, parent = info.user, info.payload
        else:
            raise Unauthenticated(f"Attempted to authenticate with an unsupported method: {method}.")
        if user is not None and user.id != found.id:
            raise Unauthenticated(REFUSED)
        user = found
    assert user is not None
    scope = _scope(session, auth.get("scope"), user)
    return tokens.issue(session, user, scope, _merge(methods, parent), parent)


def _merge(methods: tuple[str, ...], parent: Payload | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*methods, *(parent.methods if parent else ()))))


def _by_password(session: Session, given: dict[str, Any], rounds: int) -> User:
    query = select(User)
    if "id" in given:
        query = query.where(User.id == given["id"])
    elif "name" in given and "domain" in given:
        domain = _domain(session, given["domain"])
        query = query.where(User.name == given["name"], User.domain_id == (domain.id if domain else None))
    else:
        raise Invalid("auth.identity.password.user must have an id, or a name and a domain.")
    user = session.scalar(query)
    if not check_password(given["password"], user.password_hash if user else None, rounds) or user is None:
        raise Unauthenticated(REFUSED)
    return user


def _domain(session: Session, given: dict[str, Any]) -> Domain | None:
    if "id" in given:
        return session.get(Domain, given["id"])
    return session.scalar(select(Domain).where(Domain.name == given.get("name")))


def _scope(session: Session, given: Any, user: User) -> Scope:
    if given is None and user.default_project_id:
        return Scope("project", user.default_project_id)
    if given is None or given == "unscoped" or "unscoped" in given:
        return Scope("unscoped")
    if "system" in given:
        return Scope("system", "all")
    if "domain" in given:
        domain = _domain(session, given["domain"])
        if domain is None:
            raise Unauthenticated(REFUSED)
        return Scope("domain", domain.id)
    return Scope("project", _project(session, given["project"]).id)


def _project(session: Session, given: dict[str, Any]) -> Project:
    project = session.get(Project, given["id"]) if "id" in given else None
    if "name" in given and "domain" in given:
        domain = _domain(session, given["domain"])
        query = select(Project).where(Project.name == given["name"])
        project = session.scalar(query.where(Project.domain_id == (domain.id if domain else None)))
    elif "id" not in given:
        raise Invalid("auth.scope.project must have an id, or a name and a domain.")
    if project is None:
        raise Unauthenticated(REFUSED)
    return project
