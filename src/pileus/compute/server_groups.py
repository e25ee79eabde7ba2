"""Server groups: whose servers are to be on one host, or on different ones (api-ref compute, Server groups)."""

from __future__ import annotations

from sqlalchemy import func, select, update

from pileus.api import Requester, Values
from pileus.api.style import own_project
from pileus.compute.model import Server
from pileus.compute.placement_model import ANTI_AFFINITY, ServerGroup
from pileus.compute.quotas import QUOTAS
from pileus.db import Session, new_id, utcnow
from pileus.errors import Invalid


def create(session: Session, values: Values, asks: Requester) -> ServerGroup:
    """Make a group for the caller's project.

    Args:
        values: name, and policy with its rules (2.64 and later) or the one in policies.

    Raises:
        Invalid: rules for a policy that has none.
    """
    policy = values["policy"] if "policy" in values else values["policies"][0]
    rules = values.get("rules") or {}
    if rules and policy != ANTI_AFFINITY:
        raise Invalid("Only anti-affinity policy supports rules.")
    most = int(rules["max_server_per_host"]) if rules else None
    group = ServerGroup(
        id=new_id(),
        name=values["name"],
        project_id=asks.project_id,
        user_id=asks.caller.user_id,
        policy=policy,
        max_server_per_host=most,
        created_at=utcnow(),
    )
    session.add(group)
    return group


def delete(session: Session, group: ServerGroup, _asks: Requester) -> None:
    """Its servers stay where they are, and are in no group."""
    session.change(update(Server).where(Server.group_id == group.id).values(group_id=None))
    session.delete(group)


def members(group: ServerGroup) -> list[str]:
    """Ids of the group's servers, the oldest first; deleted ones are none."""
    return [server.id for server in group.servers]


def of_server(server: Server) -> list[str]:
    """Ids of the groups that a server is in: one, or none (api-ref compute, Servers, server_groups since 2.71)."""
    return [server.group_id] if server.group_id else []


def for_boot(session: Session, asks: Requester, group_id: str, count: int = 1) -> ServerGroup:
    """The group that new servers are to join, by the scheduler hint `group` (api-ref compute, Create server).

    Call it in the transaction that writes the servers, with as many as there will be: until its end nobody else adds
    any to the project's groups.

    Args:
        asks: who asks for the servers; they will be of his project.
        count: how many servers there will be.

    Raises:
        Invalid: there is no such group for the caller.
        QuotaExceeded: the group would have more servers than one may have.
    """
    query = select(ServerGroup).where(ServerGroup.id == group_id).with_for_update(key_share=True)
    seen = own_project(asks, ServerGroup.project_id)
    group = session.scalar(query if seen is None else query.where(seen), asks.parameters)
    if group is None:
        raise Invalid(f"Instance group {group_id} could not be found.")
    QUOTAS.lock(session, asks.project_id)
    present = (Server.group_id == group_id, Server.deleted_at.is_(None))
    held = session.scalar(select(func.count()).select_from(Server).where(*present)) or 0
    wanted, used = {"server_group_members": count}, {"server_group_members": held}
    QUOTAS.fit(session, asks.project_id, wanted, used=used)
    return group
