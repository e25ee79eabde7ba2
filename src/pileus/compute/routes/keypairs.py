"""Key pairs (api-ref compute, Keypairs)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement

from pileus.api import Context, Noun, Resource, Schema, Values, changed, since
from pileus.api.fields import micros
from pileus.api.schema import obj
from pileus.compute import keypairs
from pileus.compute.model import KeyPair
from pileus.compute.parameters import ANY, PAGING
from pileus.compute.style import ComputeStyle
from pileus.errors import Invalid, NotFound, PileusError


def _name(characters: str) -> Values:
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": f"^[{characters}]([{characters} ]*[{characters}])?$",
    }


CREATE = Schema.wrapped(
    "keypair",
    obj(
        changed(["name"], v2_92=["name", "public_key"]),
        name=changed(_name(r"_\-a-zA-Z0-9"), v2_92=_name(r"_\-@.a-zA-Z0-9")),
        public_key={"type": "string"},
        type=since("2.2", {"enum": ["ssh", "x509"]}),
        user_id=since("2.10", {"type": "string"}),
    ),
)
ONE = Schema.params(closed="2.75", user_id=since("2.10", ANY))
LIST = Schema.params(
    closed="2.75", user_id=since("2.10", ANY), **{name: since("2.35", form) for name, form in PAGING.items()}
)


class KeyPairStyle(ComputeStyle):
    """Key pairs belong to users: rules are judged against the user whose keys a request is about."""

    def about(self, ctx: Context, noun: Noun, row: object) -> Values:
        return {"user_id": getattr(row, "user_id", None) or owner(ctx)}

    def bad_marker(self, marker: str) -> PileusError:
        return Invalid(f"Marker {marker} could not be found.")


class KeyPairs(Resource[KeyPair]):
    """Names are unique for each user only."""

    def absent(self, ctx: Context, key: str) -> PileusError:
        return NotFound(f"Keypair {key} not found for user {owner(ctx)}")


def owner(ctx: Context) -> str:
    """Whose keys a request is about: the caller's unless it names somebody (2.10)."""
    given = (ctx.body or {}).get("keypair", {}).get("user_id") or ctx.param("user_id")
    return (given if ctx.at_least("2.10") else None) or ctx.caller.user_id


def _owned(ctx: Context) -> Sequence[ColumnElement[bool]]:
    return (KeyPair.user_id == owner(ctx),)


def brief(ctx: Context, key: KeyPair) -> Values:
    """A key pair as a list has it."""
    shown = {"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint}
    return shown | ({"type": key.type} if ctx.at_least("2.2") else {})


def view(ctx: Context, key: KeyPair) -> Values:
    """A key pair in full."""
    return brief(ctx, key) | {
        "user_id": key.user_id,
        "id": key.id,
        "created_at": micros(key.created_at),
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }


def created(ctx: Context, key: KeyPair) -> Values:
    """A new key pair: the only answer with a private key, if that was made here."""
    private = ctx.body["keypair"]["material"].private_key
    return brief(ctx, key) | {"user_id": key.user_id} | ({"private_key": private} if private else {})


def make(ctx: Context) -> None:
    """Check or make the key, for who may keep it: before the transaction, for it takes a moment."""
    values: Values = ctx.body["keypair"]
    values["user_id"] = owner(ctx)
    ctx.require(KEYPAIRS.rule("create"), {"user_id": values["user_id"]})
    kind, given = values.get("type", "ssh"), values.get("public_key")
    values["material"] = (
        keypairs.generated(kind, values["user_id"]) if given is None else keypairs.imported(kind, given)
    )


KEYPAIRS = KeyPairs(
    KeyPair,
    "keypair",
    "/v2.1/os-keypairs",
    style=KeyPairStyle(),
    rule="os_compute_api:os-keypairs:{verb}",
    key=KeyPair.name,
    view=view,
    within=_owned,
    parent=lambda ctx, _values: {"user_id": owner(ctx)},
    sortable={"name": KeyPair.name},
    order=[("name", "asc")],
    paged="2.35",
)
KEYPAIRS.index(view=lambda ctx, key: {"keypair": brief(ctx, key)}, query=LIST)
KEYPAIRS.show(query=ONE)
KEYPAIRS.create(body=CREATE, status={"2.1": 200, "2.2": 201}, view=created, before=make)(keypairs.create)
KEYPAIRS.delete(query=ONE, status={"2.1": 202, "2.2": 204})(keypairs.delete)
routes = KEYPAIRS.routes
