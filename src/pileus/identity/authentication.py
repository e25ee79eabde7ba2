"""Authentication: an identity and a scope, as the body of POST /v3/auth/tokens names them, become a token."""

from __future__ import annotations

from sqlalchemy import select

from pileus.api import Values
from pileus.db import Database, Session
from pileus.errors import Invalid, Unauthenticated
from pileus.identity import users
from pileus.identity.model import Domain, Project, User
from pileus.identity.tokens import Payload, Scope, TokenInfo, Tokens
from pileus.identity.users import REFUSED


def authenticate(db: Database, tokens: Tokens, auth: Values, rounds: int) -> tuple[str, TokenInfo]:
    """Check the identity and issue a token for the scope; no transaction is open while a password is checked.

    Args:
        auth: the body's "auth" object, validated.
        rounds: bcrypt's cost.

    Raises:
        Unauthenticated: wrong credentials, or no access to the scope. Invalid: a method that is not served.
    """
    methods = tuple(auth["identity"]["methods"])
    proven: list[User] = []
    parent = None
    for method in methods:
        if method not in auth["identity"]:
            raise Invalid(f"auth.identity.{method} is required by the method {method}.")
        given = auth["identity"][method]
        if method == "password":
            proven.append(_by_password(db, given["user"], rounds))
        elif method == "token":
            with db.read() as session:
                info = tokens.read(session, given["id"])
            proven.append(info.user)
            parent = info.payload
        else:
            raise Unauthenticated(f"Attempted to authenticate with an unsupported method: {method}.")
    if len({user.id for user in proven}) != 1:
        raise Unauthenticated(REFUSED)
    with db.read() as session:
        user = users.unchanged(session, proven[0])
        scope = _scope(session, auth.get("scope"), user)
        return tokens.issue(session, user, scope, _merge(methods, parent), parent)


def _merge(methods: tuple[str, ...], parent: Payload | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*methods, *(parent.methods if parent else ()))))


def _by_password(db: Database, given: Values, rounds: int) -> User:
    with db.read() as session:
        user = _user(session, given)
    return users.check(user, given["password"], rounds)


def _user(session: Session, given: Values) -> User | None:
    if "id" in given:
        return session.get(User, given["id"])
    if "name" not in given or "domain" not in given:
        raise Invalid("auth.identity.password.user must have an id, or a name and a domain.")
    domain = _domain(session, given["domain"])
    query = select(User).where(User.name == given["name"], User.domain_id == (domain.id if domain else None))
    return session.scalar(query)


def _domain(session: Session, given: Values) -> Domain | None:
    if "id" in given:
        return session.get(Domain, given["id"])
    return session.scalar(select(Domain).where(Domain.name == given.get("name")))


def _scope(session: Session, given: Values | str | None, user: User) -> Scope:
    if given is None and user.default_project_id:
        return Scope("project", user.default_project_id)
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
