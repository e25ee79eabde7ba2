"""Users and their passwords (api-ref identity v3, Users)."""

from __future__ import annotations

from typing import Any

from pileus.api import Context, Routes, Schema
from pileus.api.routes import OPEN
from pileus.api.schema import NAME, obj
from pileus.identity import users
from pileus.identity.model import User
from pileus.identity.passwords import hash_password
from pileus.identity.routes.collection import Collection, domain_of

routes = Routes()

_TEXT = {"type": ["string", "null"]}
_PASSWORD = {"type": "string", "minLength": 1, "maxLength": 4096}
_FIELDS: dict[str, Any] = {
    "name": NAME,
    "password": {"anyOf": [_PASSWORD, {"type": "null"}]},
    "domain_id": _TEXT,
    "default_project_id": _TEXT,
    "description": _TEXT,
    "email": _TEXT,
    "enabled": {"type": "boolean"},
    "options": {"type": "object"},
}
CREATE = Schema.wrapped("user", obj(["name"], closed=False, **_FIELDS))
UPDATE = Schema.wrapped("user", obj(closed=False, **_FIELDS))
CHANGE = Schema.wrapped(
    "user",
    obj(
        ["original_password", "password"],
        closed=False,
        original_password={"type": "string"},
        password=_PASSWORD,
    ),
)


def _view(user: User) -> dict[str, Any]:
    shown = {name: getattr(user, name) for name in ("default_project_id", "description", "email")}
    return {
        **user.extra, **{name: value for name, value in shown.items() if value is not None},
        "id": user.id, "name": user.name, "domain_id": user.domain_id, "enabled": user.enabled,
        "password_expires_at": None, "options": {},
    }  # fmt: skip


USERS = Collection(User, _view, ("id", "name", "domain_id", "enabled"))


def _hash(ctx: Context, user: dict[str, Any]) -> str | None:
    """The hash of the password in a body. It takes long, so it is made before the transaction begins."""
    password = user.get("password")
    return None if password is None else hash_password(password, ctx.cloud.settings.bcrypt_rounds)


@routes.post("/v3/users", policy="identity:create_user", deferred=True, body=CREATE, status=201, transaction=None)
def create(ctx: Context, user: dict[str, Any]) -> dict[str, Any]:
    domain_id = domain_of(ctx, user)
    ctx.require("identity:create_user", {"target.user.domain_id": domain_id})
    password_hash = _hash(ctx, user)
    with ctx.cloud.db.write() as session:
        made = users.create(session, domain_id, {**user, "domain_id": domain_id}, password_hash)
        return USERS.one(ctx, made)


@routes.get("/v3/users", policy="identity:list_users", deferred=True)
def index(ctx: Context) -> dict[str, Any]:
    return USERS.index(ctx, "identity:list_users")


@routes.get("/v3/users/{user_id}", policy="identity:get_user", deferred=True)
def show(ctx: Context, user_id: str) -> dict[str, Any]:
    return USERS.one(ctx, USERS.find(ctx, user_id, "identity:get_user"))


@routes.patch("/v3/users/{user_id}", policy="identity:update_user", deferred=True, body=UPDATE, transaction=None)
def update(ctx: Context, user_id: str, user: dict[str, Any]) -> dict[str, Any]:
    with ctx.cloud.db.read() as ctx.session:
        USERS.find(ctx, user_id, "identity:update_user")
    password_hash = _hash(ctx, user)
    with ctx.cloud.db.write() as ctx.session:
        found = USERS.find(ctx, user_id, "identity:update_user")
        return USERS.one(ctx, users.update(ctx.session, found, user, password_hash))


@routes.delete("/v3/users/{user_id}", policy="identity:delete_user", deferred=True)
def delete(ctx: Context, user_id: str) -> None:
    ctx.session.delete(USERS.find(ctx, user_id, "identity:delete_user"))


@routes.post("/v3/users/{user_id}/password", policy=OPEN, body=CHANGE, status=204, transaction=None)
def change_password(ctx: Context, user_id: str, user: dict[str, Any]) -> None:
    """The old password proves who asks: no token is needed (it may have been voided, or expired)."""
    with ctx.cloud.db.read() as session:
        users.check(session.get(User, user_id), user["original_password"], ctx.cloud.settings.bcrypt_rounds)
    password_hash = _hash(ctx, user)
    with ctx.cloud.db.write() as session:
        users.update(session, session.get_one(User, user_id), {}, password_hash)
