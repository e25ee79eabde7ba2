"""Security groups: the verbs (api-ref network, Security groups)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.orm import selectinload

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session, new_id
from pileus.db.among import among
from pileus.errors import Conflict, Invalid, NotFound
from pileus.network import quotas, sync
from pileus.network.model import DefaultGroup, Port, PortSecurityGroup, SecurityGroup, SecurityGroupRule

DEFAULT = "default"
_BY_ID = select(SecurityGroup.project_id, SecurityGroup.id).where(among(SecurityGroup.id, "ids"))
_NAMED = select(SecurityGroup.id, SecurityGroup.name).where(
    SecurityGroup.project_id == bindparam("project_id"),
    or_(
        among(SecurityGroup.id, "names"),
        among(SecurityGroup.name, "names"),
    ),
)
_DEFAULTS = select(DefaultGroup.project_id, DefaultGroup.security_group_id).where(
    among(DefaultGroup.project_id, "projects")
)


def missing(group_id: str) -> NotFound:
    return NotFound(f"Security group {group_id} does not exist", "SecurityGroupNotFound")


def default(session: Session, project_id: str) -> SecurityGroup:
    """The project's default group, which is made when it is first asked for."""
    query = select(SecurityGroup).join(DefaultGroup).where(DefaultGroup.project_id == project_id)
    found = session.scalar(query)
    if found is None:
        quotas.QUOTAS.lock(session, project_id)
        found = session.scalar(query) or _make_default(session, project_id)
    return found


_DEFAULT_OF = select(DefaultGroup.project_id).where(DefaultGroup.project_id == bindparam("project_id"))


def has_default(session: Session, project_id: str) -> bool:
    return bool(session.fetch(_DEFAULT_OF, project_id=project_id))


def _make_default(session: Session, project_id: str) -> SecurityGroup:
    group = SecurityGroup(id=new_id(), project_id=project_id, name=DEFAULT, description="Default security group")
    group.rules = _egress(project_id)
    session.add(group)
    session.flush()
    session.add(DefaultGroup(project_id=project_id, security_group_id=group.id))
    group.rules += [
        SecurityGroupRule(project_id=project_id, direction="ingress", ethertype=kind, remote_group_id=group.id)
        for kind in ("IPv4", "IPv6")
    ]
    session.flush()
    return group


def _egress(project_id: str) -> list[SecurityGroupRule]:
    return [SecurityGroupRule(project_id=project_id, direction="egress", ethertype=kind) for kind in ("IPv4", "IPv6")]


def create(session: Session, values: Values, asks: Asks = ITSELF) -> SecurityGroup:
    """Create a group that lets everything out and nothing in.

    Raises:
        QuotaExceeded. Conflict: it is called default.
    """
    if values["name"] == DEFAULT:
        raise Conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists")
    default(session, values["project_id"])
    quotas.take(session, values["project_id"], "security_group")
    quotas.take(session, values["project_id"], "security_group_rule", 2)
    group = SecurityGroup(**values, rules=_egress(values["project_id"]))
    session.add(group)
    session.flush()
    return group


def update(session: Session, row: SecurityGroup, values: Values, asks: Asks = ITSELF) -> None:
    """Change a group's name or description.

    Raises:
        Conflict: the default group's name.
    """
    if "name" in values and values["name"] != row.name:
        if _is_default(session, row):
            raise Conflict("Updating default security group not allowed.", "SecurityGroupCannotUpdateDefault")
        if values["name"] == DEFAULT:
            raise Conflict("Default security group already exists.", "SecurityGroupDefaultAlreadyExists")
    for name, value in values.items():
        setattr(row, name, value)
    session.flush()
    sync.group_changed(session, row, asks.request_id)


def delete(session: Session, row: SecurityGroup, asks: Asks = ITSELF) -> None:
    """Delete a group, and every rule that names it.

    Raises:
        Conflict: a port is in it, or it is the default one.
    """
    if _is_default(session, row) and not asks.is_admin:
        raise Conflict("Insufficient rights for removing default security group.", "SecurityGroupCannotRemoveDefault")
    if session.scalar(select(PortSecurityGroup.port_id).where(PortSecurityGroup.security_group_id == row.id).limit(1)):
        raise Conflict(f"Security Group {row.id} in use.", "SecurityGroupInUse")
    session.execute(sql_delete(DefaultGroup).where(DefaultGroup.security_group_id == row.id))
    naming = select(SecurityGroupRule).where(
        SecurityGroupRule.remote_group_id == row.id, SecurityGroupRule.security_group_id != row.id
    )
    for rule in session.scalars(naming):
        group = session.get_one(SecurityGroup, rule.security_group_id)
        group.touch()
        sync.group_changed(session, group, asks.request_id)
        session.delete(rule)
    session.flush()
    sync.group_changed(session, row, asks.request_id)
    session.delete(row)
    session.flush()


def _is_default(session: Session, row: SecurityGroup) -> bool:
    found = session.get(DefaultGroup, row.project_id)
    return found is not None and found.security_group_id == row.id


class Wanted:
    """The groups that ports are to be in, of several projects and read together.

    Args:
        ids: of all groups that are asked for.
    """

    def __init__(self, session: Session, project_ids: Iterable[str], ids: Iterable[str]) -> None:
        self._session = session
        self._ids = {(row.project_id, row.id) for row in session.fetch(_BY_ID, ids=set(ids))}
        self._projects, self._defaults = set(project_ids), dict[str, str]()

    def require(self, project_id: str, ids: Iterable[str]) -> list[str]:
        """The ids, each of a group of the project's; raises NotFound."""
        wanted = list(dict.fromkeys(ids))
        for id in wanted:
            if (project_id, id) not in self._ids:
                raise missing(id)
        return wanted

    def default(self, project_id: str) -> str:
        """The id of the project's default group, which is made when it is first asked for."""
        if not self._defaults:
            self._defaults.update(map(tuple, self._session.fetch(_DEFAULTS, projects=self._projects)))
        if project_id not in self._defaults:
            self._defaults[project_id] = default(self._session, project_id).id
        return self._defaults[project_id]


def resolve(session: Session, project_id: str, names: list[str]) -> list[str]:
    """As `find`; the default group is made if there is none."""
    found = find(session, project_id, names)
    return [id or default(session, project_id).id for id in found]


def find(session: Session, project_id: str, names: list[str]) -> list[str | None]:
    """The ids of a project's groups, given by name or id; None for its default group while that is yet to be made.

    Raises:
        Invalid: there is none. Conflict: several have the name.
    """
    rows = session.fetch(_NAMED, project_id=project_id, names=names) if names else []
    found: list[str | None] = []
    for name in names:
        matches = [row.id for row in rows if row.id == name] or [row.id for row in rows if row.name == name]
        if not matches and name != DEFAULT:
            raise Invalid(f"Unable to find security_group with name or id '{name}'")
        if len(matches) > 1:
            raise Conflict(
                f"Multiple security groups found matching '{name}'. Use an ID to be more specific.",
                "NoUniqueMatch",
            )
        id = matches[0] if matches else None
        if id not in found:
            found.append(id)
    return found


_NAMES = (
    select(Port.server_id, SecurityGroup.name)
    .join(PortSecurityGroup, PortSecurityGroup.port_id == Port.id)
    .join(SecurityGroup, SecurityGroup.id == PortSecurityGroup.security_group_id)
    .where(among(Port.server_id, "ids"))
    .order_by(Port.position, SecurityGroup.name)
)


def names_for_servers(session: Session, server_ids: Iterable[str]) -> dict[str, list[str]]:
    """The names of the groups that servers' ports are in, by server; one statement."""
    names: dict[str, list[str]] = {}
    for server_id, name in session.fetch(_NAMES, ids=list(server_ids)):
        known = names.setdefault(server_id or "", [])
        if name not in known:
            known.append(name)
    return names


def of_server(session: Session, server_id: str) -> list[SecurityGroup]:
    """The groups that a server's ports are in, with their rules, by name."""
    query = (
        select(SecurityGroup)
        .join(PortSecurityGroup, PortSecurityGroup.security_group_id == SecurityGroup.id)
        .join(Port, Port.id == PortSecurityGroup.port_id)
        .where(Port.server_id == server_id)
        .options(selectinload(SecurityGroup.rules))
        .order_by(SecurityGroup.name, SecurityGroup.id)
    )
    return list(session.scalars(query).unique())
