"""Tokens: issue, validate, revoke (api-ref identity, Authentication and token management)."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections import OrderedDict

import msgspec
from cryptography.fernet import InvalidToken
from sqlalchemy import delete

from pileus.api.caller import Caller
from pileus.api.fields import micros_z
from pileus.clock import utc
from pileus.db import Session, utcnow
from pileus.errors import NotFound, Unauthenticated
from pileus.identity import assignments, generation, voids
from pileus.identity.keys import KeyRing
from pileus.identity.model import Domain, Project, Revocation, Role, User
from pileus.identity.words import REFUSED
from pileus.jsontypes import Values

CACHE_SIZE = 4096


class Scope(msgspec.Struct, frozen=True):
    """What a token is for: kind is project, domain, system or unscoped."""

    kind: str
    target_id: str = ""


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """What a Fernet token holds. Times are seconds since the epoch."""

    user_id: str
    scope: str
    target_id: str
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    audit_ids: tuple[str, ...]
    basis: str
    """What it stands on (`voids`)."""


class TokenInfo(msgspec.Struct):
    """A valid token and all it stands for."""

    payload: Payload
    user: User
    user_domain: Domain
    roles: list[Role]
    project: Project | None = None
    project_domain: Domain | None = None
    domain: Domain | None = None


class Known(msgspec.Struct, frozen=True):
    """What is remembered of a valid token.

    Attributes:
        generation: of identity, when this was so. expires_at: seconds since the epoch. shown: JSON of `described`.
    """

    generation: int
    expires_at: float
    caller: Caller
    shown: bytes


class Tokens:
    """Issues and checks tokens. What a token means is cached until identity changes.

    Attributes:
        rescopes: whether a token that has a scope may be exchanged for another (allow_rescope_scoped_token).
    """

    def __init__(self, keys: KeyRing, lifetime_s: int, rescopes: bool = True) -> None:
        self._keys, self._lifetime_s, self.rescopes = keys, lifetime_s, rescopes
        self._cache: OrderedDict[str, Known] = OrderedDict()
        self._lock = threading.Lock()

    def issue(
        self, session: Session, user: User, scope: Scope, methods: tuple[str, ...], parent: Payload | None = None
    ) -> tuple[str, TokenInfo]:
        """A token for a user and a scope; one got with another token (`parent`) does not outlive it.

        Raises:
            Unauthenticated: the user has no role there, or user or target is disabled.
        """
        now = time.time()
        audit = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        payload = Payload(
            user.id,
            scope.kind,
            scope.target_id,
            methods,
            now,
            parent.expires_at if parent else now + self._lifetime_s,
            (audit, parent.audit_ids[-1]) if parent else (audit,),
            basis="",
        )
        info = _resolve(session, payload)
        info.payload = msgspec.structs.replace(payload, basis=_basis(session, info))
        return self._keys.encrypt(msgspec.msgpack.encode(info.payload)), info

    def read(self, session: Session, token: str) -> TokenInfo:
        """What a token stands for now.

        Raises:
            Unauthenticated: not a token, expired, revoked, or what it stands for is gone.
        """
        try:
            payload = msgspec.msgpack.decode(self._keys.decrypt(token), type=Payload)
        except (InvalidToken, msgspec.DecodeError, UnicodeError):
            raise Unauthenticated(REFUSED) from None
        if payload.expires_at <= time.time():
            raise Unauthenticated("The token has expired.")
        if session.get(Revocation, payload.audit_ids[0]) is not None:
            raise Unauthenticated("The token has been revoked.")
        info = _resolve(session, payload)
        if payload.basis != _basis(session, info):
            raise Unauthenticated("The token has been revoked.")
        return info

    def caller(self, session: Session, token: str) -> Caller:
        """Who a token stands for; raises as `read`."""
        return self._known(session, token).caller

    def described(self, session: Session, token: str) -> tuple[Caller, Values]:
        """Who a token stands for, and its body but for the catalog; raises as `read`."""
        known = self._known(session, token)
        return known.caller, msgspec.json.decode(known.shown)

    def _known(self, session: Session, token: str) -> Known:
        digest = hashlib.sha256(token.encode()).hexdigest()
        now = generation.current(session)
        with self._lock:
            known = self._cache.get(digest)
            if known and known.generation == now and known.expires_at > time.time():
                return known
        info = self.read(session, token)
        known = Known(now, info.payload.expires_at, _caller(info, digest), msgspec.json.encode(described(info)))
        with self._lock:
            self._cache[digest] = known
            while len(self._cache) > CACHE_SIZE:
                self._cache.popitem(last=False)
        return known

    def revoke(self, session: Session, token: str) -> None:
        """Take a token back.

        Raises:
            NotFound: it is not a valid token.
        """
        try:
            payload = self.read(session, token).payload
        except Unauthenticated as error:
            raise NotFound("Could not find token.") from error
        session.execute(delete(Revocation).where(Revocation.expires_at < utcnow()))
        session.add(Revocation(audit_id=payload.audit_ids[0], expires_at=utc(payload.expires_at)))


def _resolve(session: Session, payload: Payload) -> TokenInfo:
    user = session.get(User, payload.user_id)
    user_domain = session.get(Domain, user.domain_id) if user else None
    if user is None or user_domain is None or not (user.enabled and user_domain.enabled):
        raise Unauthenticated(REFUSED)  # in no other words than a wrong password
    info = TokenInfo(payload, user, user_domain, [])
    if payload.scope == "unscoped":
        return info
    info.roles = assignments.effective_roles(session, user.id, payload.scope, payload.target_id)
    if payload.scope == "project":
        info.project = session.get(Project, payload.target_id)
        info.project_domain = session.get(Domain, info.project.domain_id) if info.project else None
        usable = info.project is not None and info.project.enabled
        usable = usable and info.project_domain is not None and info.project_domain.enabled
    elif payload.scope == "domain":
        info.domain = session.get(Domain, payload.target_id)
        usable = info.domain is not None and info.domain.enabled
    else:
        usable = True
    if not usable or not info.roles:
        raise Unauthenticated(f"User {user.id} has no access to {payload.scope} {payload.target_id}")
    return info


def _basis(session: Session, info: TokenInfo) -> str:
    places = (info.user_domain, info.project, info.project_domain, info.domain)
    return voids.basis(session, info.user, info.payload.scope, info.payload.target_id, places)


def _caller(info: TokenInfo, digest: str) -> Caller:
    project = info.project
    return Caller(
        user_id=info.user.id,
        user_name=info.user.name,
        user_domain_id=info.user.domain_id,
        roles=tuple(role.name for role in info.roles),
        project_id=project.id if project else None,
        project_name=project.name if project else None,
        project_domain_id=project.domain_id if project else None,
        domain_id=info.domain.id if info.domain else None,
        system=info.payload.scope == "system",
        token_digest=digest,
    )


def described(info: TokenInfo) -> Values:
    """A token's body but for the catalog (api-ref identity, Password authentication with scoped authorization)."""
    token: Values = {
        "methods": list(info.payload.methods),
        "user": {**_named(info.user), "domain": _named(info.user_domain), "password_expires_at": None},
        "audit_ids": list(info.payload.audit_ids),
        "expires_at": micros_z(utc(info.payload.expires_at)),
        "issued_at": micros_z(utc(info.payload.issued_at)),
    }
    if info.project and info.project_domain:
        token["project"] = {**_named(info.project), "domain": _named(info.project_domain)}
        token["is_domain"] = False
    if info.domain:
        token["domain"] = _named(info.domain)
    if info.payload.scope == "system":
        token["system"] = {"all": True}
    if info.roles:
        token["roles"] = [_named(role) for role in info.roles]
    return token


def _named(thing: User | Domain | Project | Role) -> dict[str, str]:
    return {"id": thing.id, "name": thing.name}
