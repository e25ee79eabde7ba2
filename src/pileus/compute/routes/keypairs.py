"""Key pairs (api-ref compute, Keypairs)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema, changed, since
from pileus.api.fields import micros
from pileus.api.paging import next_link, page_limit
from pileus.api.schema import obj
from pileus.compute import keypairs
from pileus.compute.model import KeyPair
from pileus.compute.parameters import ANY, PAGING

routes = Routes()


def _name(characters: str) -> dict[str, Any]:
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
_RULE = "os_compute_api:os-keypairs:"


def _brief(ctx: Context, key: KeyPair) -> dict[str, Any]:
    shown = {"name": key.name, "public_key": key.public_key, "fingerprint": key.fingerprint}
    return shown | ({"type": key.type} if ctx.at_least("2.2") else {})


def view(ctx: Context, key: KeyPair) -> dict[str, Any]:
    """A key pair in full."""
    return _brief(ctx, key) | {
        "user_id": key.user_id,
        "id": key.id,
        "created_at": micros(key.created_at),
        "updated_at": None,
        "deleted": False,
        "deleted_at": None,
    }


def _owner(ctx: Context, verb: str, given: str | None) -> str:
    """Whose keys the request is about: the caller's unless an administrator names somebody (2.10)."""
    user_id = (given if ctx.at_least("2.10") else None) or ctx.caller.user_id
    ctx.require(_RULE + verb, {"user_id": user_id})
    return user_id


@routes.get("/v2.1/os-keypairs", policy=_RULE + "index", deferred=True, query=LIST)
def index(ctx: Context) -> dict[str, Any]:
    user_id = _owner(ctx, "index", ctx.param("user_id"))
    paged = ctx.at_least("2.35")
    limit = page_limit(ctx) if paged else None
    found = keypairs.page(ctx.session, user_id, ctx.param("marker") if paged else None, limit)
    shown = [_brief(ctx, key) for key in found]
    body: dict[str, Any] = {"keypairs": [{"keypair": key} for key in shown]}
    if link := next_link(ctx, shown, limit or 0, "name"):
        body["keypairs_links"] = [{"rel": "next", "href": link}]
    return body


@routes.get("/v2.1/os-keypairs/{name}", policy=_RULE + "show", deferred=True, query=ONE)
def show(ctx: Context, name: str) -> dict[str, Any]:
    user_id = _owner(ctx, "show", ctx.param("user_id"))
    return {"keypair": view(ctx, keypairs.get(ctx.session, user_id, name))}


@routes.post(
    "/v2.1/os-keypairs",
    policy=_RULE + "create",
    deferred=True,
    body=CREATE,
    status={"2.1": 200, "2.2": 201},
    transaction=None,
)
def create(ctx: Context, keypair: dict[str, Any]) -> dict[str, Any]:
    user_id = _owner(ctx, "create", keypair.get("user_id"))
    kind = keypair.get("type", "ssh")
    material = keypairs.imported(kind, keypair["public_key"]) if "public_key" in keypair else keypairs.generated(kind)
    with ctx.cloud.db.write() as session:
        key = keypairs.create(session, user_id, ctx.caller.project_id or "", keypair["name"], material)
    shown = _brief(ctx, key) | {"user_id": key.user_id}
    return {"keypair": shown | ({"private_key": material.private_key} if material.private_key else {})}


@routes.delete(
    "/v2.1/os-keypairs/{name}",
    policy=_RULE + "delete",
    deferred=True,
    query=ONE,
    status={"2.1": 202, "2.2": 204},
)
def delete(ctx: Context, name: str) -> None:
    keypairs.remove(ctx.session, _owner(ctx, "delete", ctx.param("user_id")), name)
