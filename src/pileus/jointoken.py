"""The token that lets a machine join a cloud, and how both ends prove that they have it without sending it.

It is shown once, by `pileus join-token`. What a machine asks, and what it is answered, is sealed with it (HMAC-SHA-256,
RFC 2104): nobody between them can change either, or use what he sees, also where the connection is not encrypted.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

import msgspec


class JoinToken(msgspec.Struct, frozen=True):
    """A token: `id` is no secret."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        """As it is shown and given."""
        return f"{self.id}.{self.secret}"

    @property
    def key(self) -> str:
        """What the cloud keeps of it, and both ends seal with."""
        return hashlib.sha256(self.secret.encode()).hexdigest()


def new() -> JoinToken:
    """A token that nobody can guess."""
    return JoinToken(secrets.token_hex(8), secrets.token_urlsafe(32))


def parse(text: str) -> JoinToken:
    """The token that a text is; raises ValueError: it is none."""
    id, _, secret = text.strip().partition(".")
    if not id or not secret:
        raise ValueError("this is no token of `pileus join-token`")
    return JoinToken(id, secret)


def seal(key: str, *said: str) -> str:
    """The seal under what is said, in hexadecimal."""
    return hmac.new(key.encode(), json.dumps(said).encode(), hashlib.sha256).hexdigest()


def sealed(key: str, given: str, *said: str) -> bool:
    """Whether this is the seal under what is said."""
    return hmac.compare_digest(given.encode(), seal(key, *said).encode())


# --- what is said ---------------------------------------------------------------------------------------------------


class Application(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine says that wants to join.

    Attributes:
        token: the token's id. simulates: its hosts are not real. address: HOST:PORT where it will await replicas.
        request: for its certificate, PEM. at: when it was said, seconds since the epoch. seal: under all else.
    """

    token: str
    name: str
    simulates: bool
    address: str
    request: str
    at: int
    seal: str = ""

    def sealed_with(self, key: str) -> Application:
        """The same with its seal."""
        return msgspec.structs.replace(self, seal=seal(key, *self._said()))

    def is_sealed_with(self, key: str) -> bool:
        """Whether who has the token said this, some time."""
        return sealed(key, self.seal, *self._said())

    def _said(self) -> tuple[str, ...]:
        return "join", self.token, self.name, str(self.simulates), self.address, self.request, str(self.at)


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """What it is answered: the cloud's id, its certificate and the authority's (PEM).

    Attributes:
        southbound: where OVN's central is; "" if there is none for other hosts.
    """

    cloud: str
    certificate: str
    authority: str
    southbound: str = ""
    seal: str = ""

    def sealed_with(self, key: str, asked: Application) -> Admission:
        """The same with its seal, as the answer to this."""
        return msgspec.structs.replace(self, seal=seal(key, *self._said(asked)))

    def is_sealed_with(self, key: str, asked: Application) -> bool:
        """Whether who has the token answered this."""
        return sealed(key, self.seal, *self._said(asked))

    def _said(self, asked: Application) -> tuple[str, ...]:
        return "admitted", asked.request, self.cloud, self.certificate, self.authority, self.southbound
