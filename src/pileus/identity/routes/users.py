"""Users and their passwords (api-ref identity v3, Users)."""

from __future__ import annotations

from pileus.api import Context, Schema, Values
from pileus.api.routes import OPEN
from pileus.api.schema import NAME, obj
from pileus.identity import users
from pileus.identity.logins import Logins
from pileus.identity.model import User
from pileus.identity.style import TEXT, Noun

_PASSWORD: Values = {"type": "string", "minLength": 1, "maxLength": 4096}
_FIELDS: Values = {
    "name": NAME,
    "password": {"anyOf": [_PASSWORD, {"type": "null"}]},
    "domain_id": TEXT,
    "default_project_id": TEXT,
    "description": TEXT,
    "email": TEXT,
    "enabled": {"type": "boolean"},
    "options": {"type": "object"},
}
_CHANGE = obj(
    ["original_password", "password"],
    closed=False,
    original_password={"type": "string", "maxLength": 4096},
    password=_PASSWORD,
)


def view(_ctx: Context, user: User) -> Values:
    """A user (api-ref identity v3, Show user details)."""
    shown = {name: getattr(user, name) for name in ("default_project_id", "description", "email")}
    return {
        **user.extra,
        **{name: value for name, value in shown.items() if value is not None},
        "id": user.id,
        "name": user.name,
        "domain_id": user.domain_id,
        "enabled": user.enabled,
        "password_expires_at": None,
        "options": {},
    }


USERS = Noun(
    User,
    "user",
    view=view,
    domain=User.domain_id,
    exact=[User.id, User.name, User.domain_id, User.enabled],
    verbs={"index_projects": "identity:list_user_projects"},
    placed=True,
)


def before_create(ctx: Context) -> None:
    """Hash the new user's password, once the policy lets the caller create it."""
    USERS.style.creation(ctx, USERS, ctx.body["user"])
    _hash(ctx)


def before_update(ctx: Context, user_id: str) -> None:
    """Hash a new password, once the policy lets the caller change the user."""
    if ctx.body["user"].get("password") is not None:
        with ctx.cloud.db.read() as ctx.session:
            USERS.find(ctx, user_id, "update")
    _hash(ctx)


def _hash(ctx: Context) -> None:
    """Put the hash of a body's password in its place, or none, whatever the client called so."""
    values: Values = ctx.body["user"]
    password = values.pop("password", None)
    passwords = ctx.cloud.part(Logins).passwords
    values["password_hash"] = None if password is None else passwords.hash(password, ctx.request.remote_addr)


USERS.index()
USERS.show()
USERS.create(body=Schema.wrapped("user", obj(["name"], closed=False, **_FIELDS)), before=before_create)(users.create)
USERS.update(body=Schema.wrapped("user", obj(closed=False, **_FIELDS)), before=before_update)(users.update)
USERS.delete()(users.delete)
routes = USERS.routes


@routes.post(
    USERS.one + "/password",
    policy=OPEN,
    body=Schema.wrapped("user", _CHANGE),
    status=204,
    transaction=None,
)
def change_password(ctx: Context, user_id: str, user: Values) -> None:
    """The old password proves who asks: no token is needed (it may have been voided, or expired)."""
    passwords = user["original_password"], user["password"]
    users.change_password(ctx.cloud.db, ctx.cloud.part(Logins), user_id, *passwords, ctx.request.remote_addr)
