"""Authentication: an identity and a scope, as the body of POST /v3/auth/tokens names them, become a token."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select

from pileus.api import Values
from pileus.db import Database, Session
from pileus.errors import Forbidden, Invalid, Unauthenticated
from pileus.identity import users
from pileus.identity.logins import Logins
from pileus.identity.model import Domain, Project, User
from pileus.identity.tokens import Payload, Scope, TokenInfo, Tokens
from pileus.identity.words import REFUSED

METHODS = ("password", "token")


def authenticate(db: Database, tokens: Tokens, logins: Logins, auth: Values, address: str) -> tuple[str, TokenInfo]:
    """Check the identity and issue a token for the scope; no transaction is open while a password is checked.

    Args:
        auth: the body's "auth" object, validated. address: the client's.

    Raises:
        Unauthenticated: wrong credentials, or no access to the scope, or a method that is not served.
        Invalid: what a method or the scope needs is missing; nothing was checked then.
        Forbidden: a token that has a scope already, where that is not allowed. TooMany, Unavailable: see `Logins`.
    """
    methods = tuple(dict.fromkeys(auth["identity"]["methods"]))  # each costs what it costs once
    _require_complete(auth, methods)
    proven: list[User] = []
    parent = None
    if "token" in methods:
        with db.read() as session:
            info = tokens.read(session, auth["identity"]["token"]["id"])
        proven.append(info.user)
        parent = info.payload
        if parent.scope != "unscoped" and not tokens.rescopes:
            raise Forbidden("A token that has a scope cannot be exchanged for another one.")
    if "password" in methods:
        proven.append(_by_password(db, logins, auth["identity"]["password"]["user"], address))
    if len({user.id for user in proven}) != 1:
        raise Unauthenticated(REFUSED)
    with db.read() as session:
        user = users.unchanged(session, proven[0])
        return _issue(session, tokens, user, auth.get("scope"), _merge(methods, parent), parent)


def _require_complete(auth: Values, methods: tuple[str, ...]) -> None:
    for method in methods:
        if method not in METHODS:
            raise Unauthenticated(f"Attempted to authenticate with an unsupported method: {method[:64]}.")
        if method not in auth["identity"]:
            raise Invalid(f"auth.identity.{method} is required by the method {method}.")
    if "password" in methods:
        _require_name(auth["identity"]["password"]["user"], "auth.identity.password.user", placed=True)
    scope = auth.get("scope")
    for kind in ("project", "domain"):
        if isinstance(scope, dict) and kind in scope:
            _require_name(scope[kind], f"auth.scope.{kind}", placed=kind == "project")


def _require_name(given: Values, where: str, placed: bool) -> None:
    """Raises Invalid unless what is `given` tells which one is meant; what is `placed` has its name in a domain."""
    if "id" in given:
        return
    if "name" not in given or (placed and "domain" not in given):
        raise Invalid(f"{where} must have an id, or a name{' and a domain' if placed else ''}.")
    if placed:
        _require_name(given["domain"], f"{where}.domain", placed=False)


def _issue(
    session: Session,
    tokens: Tokens,
    user: User,
    scope: Values | str | None,
    methods: tuple[str, ...],
    parent: Payload | None,
) -> tuple[str, TokenInfo]:
    """A token for the scope that was asked for; without one, for the user's default project, if he may work there."""
    if scope is None and user.default_project_id:
        with suppress(Unauthenticated):
            return tokens.issue(session, user, Scope("project", user.default_project_id), methods, parent)
    return tokens.issue(session, user, _scope(session, scope), methods, parent)


def _merge(methods: tuple[str, ...], parent: Payload | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*methods, *(parent.methods if parent else ()))))


def _by_password(db: Database, logins: Logins, given: Values, address: str) -> User:
    with db.read() as session:
        user, called = _user(session, given)
        enabled = user is not None and users.may_log_in(session, user)
    return logins.check(user, enabled, called, given["password"], address)


def _user(session: Session, given: Values) -> tuple[User | None, str]:
    """The user that a request names, and what to call one that does not exist."""
    if "id" in given:
        return session.get(User, given["id"]), given["id"]
    domain = _domain(session, given["domain"])
    query = select(User).where(User.name == given["name"], User.domain_id == (domain.id if domain else None))
    place = domain.id if domain else given["domain"].get("id") or given["domain"].get("name")
    return session.scalar(query), f"{place}/{given['name']}"


def _domain(session: Session, given: Values) -> Domain | None:
    if "id" in given:
        return session.get(Domain, given["id"])
    return session.scalar(select(Domain).where(Domain.name == given["name"]))


def _scope(session: Session, given: Values | str | None) -> Scope:
    if given is None or isinstance(given, str) or "unscoped" in given:
        return Scope("unscoped")
    if "system" in given:
        return Scope("system", "all")
    if "domain" in given:
        domain = _domain(session, given["domain"])
        if domain is None:
            raise Unauthenticated(REFUSED)
        return Scope("domain", domain.id)
    return Scope("project", _project(session, given["project"]).id)


def _project(session: Session, given: Values) -> Project:
    if "id" in given:
        project = session.get(Project, given["id"])
    else:
        domain = _domain(session, given["domain"])
        query = select(Project).where(Project.name == given["name"])
        project = session.scalar(query.where(Project.domain_id == (domain.id if domain else None)))
    if project is None:
        raise Unauthenticated(REFUSED)
    return project
