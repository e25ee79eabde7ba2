"""Ports: the verbs (api-ref network, Ports)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sqlalchemy import delete as sql_delete
from sqlalchemy import update as sql_update

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session, new_id
from pileus.db.tags import Tag
from pileus.errors import Conflict, Invalid
from pileus.network import ipam, mac, networks, quotas, sync
from pileus.network import security_groups as groups_module
from pileus.network.model import METADATA_OWNER, FixedIP, Network, Port, PortSecurityGroup, SecurityGroup

COLUMNS = {"binding:host_id": "host", "binding:profile": "profile", "binding:vnic_type": "vnic_type"}
"""Attributes that are called differently in the table."""
_PLAIN = (
    "name",
    "description",
    "admin_state_up",
    "device_id",
    "device_owner",
    "binding:profile",
    "binding:vnic_type",
    "port_security_enabled",
)
OF_SERVER = ("server_id", "device_tag", "created_by_compute", "position", "dns_name")
"""Columns that compute gives the ports it makes; no client names them."""


def create(session: Session, values: Values, asks: Asks = ITSELF) -> Port:
    """Create a port; as `create_many`."""
    (port,) = create_many(session, [values], asks)
    return port


def create_many(session: Session, wanted: Sequence[Values], asks: Asks = ITSELF) -> list[Port]:
    """Create ports, each with a MAC and addresses, by as many statements as one takes.

    Args:
        wanted: of each the attributes of the API, and what of OF_SERVER compute gives it. They may be of several
            projects and networks.

    Returns:
        The ports, in this order, with all that belongs to them.

    Raises:
        NotFound, QuotaExceeded, Invalid, Conflict: about the first that cannot be had.
    """
    together = _Together(session, wanted)
    made = [together.make(place, values) for place, values in enumerate(wanted)]
    session.add_all(made)
    session.flush()
    bound = [(port, host) for port, values in zip(made, wanted, strict=True) if (host := values.get("binding:host_id"))]
    bind_many(session, bound)
    for port, _ in bound:
        sync.port_changed(session, port, asks.request_id)
    return made


def update(session: Session, row: Port, values: Values, asks: Asks = ITSELF) -> None:
    """Change a port.

    Raises:
        NotFound, Invalid. Conflict: also of the cloud's own port, of which only what it is called may be changed.
    """
    if row.device_owner == METADATA_OWNER and (fixed := sorted(set(values) - {"name", "description"})):
        raise Conflict(
            f"Port {row.id} cannot be changed via the port API: it has device owner {METADATA_OWNER}, which sets its "
            f"{', '.join(fixed)}.",
            "ServicePortInUse",
        )
    old_host = row.host
    ipam.lock(session, row.network_id)
    if "mac_address" in values and values["mac_address"] != row.mac_address:
        _change_mac(session, row, values["mac_address"])
    for name in _PLAIN:
        if name in values:
            setattr(row, COLUMNS.get(name, name), values[name])
    if "fixed_ips" in values:
        network = networks.locked(session, row.network_id)
        ipam.reallocate(session, row, network, values["fixed_ips"])
        row.touch()
    if "security_groups" in values:
        wanted = values["security_groups"]
        set_groups(session, row, _groups(row, wanted, groups_module.Wanted(session, [row.project_id], wanted)))
    elif not row.port_security_enabled and row.group_links:
        raise Conflict(
            "Port has security group associated. Cannot disable port security or IP address until "
            "security group is removed.",
            "PortSecurityPortHasSecurityGroup",
        )
    row.allowed_address_pairs = _pairs(row, values.get("allowed_address_pairs", row.allowed_address_pairs))
    if "binding:host_id" in values and values["binding:host_id"] != row.host:
        if values["binding:host_id"]:
            bind(session, row, values["binding:host_id"])
        else:
            unbind(row)
    elif row.host:
        bind(session, row, row.host)  # its groups may be new to the agents
    session.flush()
    sync.port_changed(session, row, asks.request_id, was_bound=bool(old_host))


def delete(session: Session, row: Port, asks: Asks = ITSELF) -> None:
    """Delete a port; also one that a server uses, as Neutron does.

    Raises:
        Conflict: it is the cloud's own.
    """
    if row.device_owner == METADATA_OWNER:
        raise Conflict(
            f"Port {row.id} cannot be deleted directly via the port API: has device owner {METADATA_OWNER}.",
            "ServicePortInUse",
        )
    sync.port_changed(session, row, asks.request_id)
    session.delete(row)
    session.flush()


def discard(session: Session, rows: Sequence[Port]) -> None:
    """Delete ports with all that belongs to them, by as many statements as one takes; nobody is told."""
    ids = [row.id for row in rows]
    for column in (Tag.resource_id, FixedIP.port_id, PortSecurityGroup.port_id, Port.id) if ids else ():
        session.change(sql_delete(column.class_).where(column.in_(ids)))
    for row in rows:
        session.expunge(row)


def bind(session: Session, port: Port, host: str) -> None:
    """Put a port on a host; as `bind_many`."""
    bind_many(session, [(port, host)])


def bind_many(session: Session, bound: Iterable[tuple[Port, str]]) -> None:
    """Put ports on hosts: from now on the agents know their networks and security groups."""
    unwired: set[str] = set()
    groups: set[str] = set()
    for port, host in bound:
        port.host, port.next_host = host, ""
        groups.update(port.security_group_ids)
        if not port.network.wired:
            unwired.add(port.network_id)
    if unwired:
        session.execute(sql_update(Network).where(Network.id.in_(unwired)).values(wired=True))
    if groups:
        new = (SecurityGroup.id.in_(groups), SecurityGroup.wired.is_(False))
        session.execute(sql_update(SecurityGroup).where(*new).values(wired=True))


def unbind(port: Port) -> None:
    """Take a port off its host."""
    port.host = port.next_host = ""
    port.status = "DOWN"


def set_groups(session: Session, port: Port, group_ids: list[str]) -> None:
    """Make these the port's security groups."""
    if set(group_ids) == set(port.security_group_ids):
        return
    kept = {link.security_group_id: link for link in port.group_links}
    port.group_links = [kept.get(id) or PortSecurityGroup(security_group_id=id) for id in group_ids]
    port.touch()
    session.flush()


class _Together:
    """Ports that are made together: what they share is locked, and read, once for all of them."""

    def __init__(self, session: Session, wanted: Sequence[Values]) -> None:
        self._session = session
        projects = Counter(values["project_id"] for values in wanted)
        self._room = {id: quotas.room(session, id, "port", projects[id]) for id in sorted(projects)}
        self._made = Counter[str]()
        self._networks = ipam.locked(session, {values["network_id"] for values in wanted})
        self._macs = mac.choose(session, [(values["network_id"], values.get("mac_address")) for values in wanted])
        asked = [
            ipam.Asked(network, mac_address, values.get("fixed_ips"))
            for values, mac_address in zip(wanted, self._macs, strict=True)
            if (network := self._networks.get(values["network_id"])) and mac_address
        ]
        self._addresses = ipam.Giver(session, asked)
        named = {id for values in wanted for id in values.get("security_groups") or ()}
        self._groups = groups_module.Wanted(session, projects, named)

    def make(self, place: int, values: Values) -> Port:
        """The port at this place of those wanted, in no session yet; raises as `create_many`."""
        network, project_id = self._networks.get(values["network_id"]), values["project_id"]
        if network is None:
            raise networks.missing(values["network_id"])
        self._charge(project_id)
        port = Port(id=new_id(), network_id=network.id, project_id=project_id, network=network, tag_rows=[])
        for name in (*_PLAIN, *OF_SERVER):
            if name in values:
                setattr(port, COLUMNS.get(name, name), values[name])
        if values.get("port_security_enabled") is None:
            port.port_security_enabled = network.port_security_enabled
        port.device_owner = port.device_owner or ""
        mac_address = self._macs[place]
        if mac_address is None:
            raise _mac_in_use(network.id, values["mac_address"])
        port.mac_address = mac_address
        port.fixed_ips = self._addresses.give(ipam.Asked(network, mac_address, values.get("fixed_ips")))
        port.allowed_address_pairs = _pairs(port, values.get("allowed_address_pairs") or [])
        groups = _groups(port, values.get("security_groups"), self._groups)
        port.group_links = [PortSecurityGroup(security_group_id=id) for id in sorted(groups)]
        return port

    def _charge(self, project_id: str) -> None:
        self._made[project_id] += 1
        if self._made[project_id] > self._room[project_id]:
            quotas.take(self._session, project_id, "port", self._made[project_id])


def _mac_in_use(network_id: str, wanted: str) -> Conflict:
    return Conflict(
        f"Unable to complete operation for network {network_id}. The mac address {wanted} is in use.",
        "MacAddressInUse",
    )


def _change_mac(session: Session, row: Port, wanted: str) -> None:
    if row.host:
        raise Conflict(
            f"Unable to complete operation on port {row.id}, port is already bound, port type: ovs, old_mac "
            f"{row.mac_address}, new_mac {wanted}.",
            "PortBound",
        )
    if mac.taken(session, row.network_id, wanted):
        raise _mac_in_use(row.network_id, wanted)
    row.mac_address = wanted
    ipam.follow_mac(session, row, wanted)
    session.flush()


def _groups(port: Port, wanted: list[str] | None, known: groups_module.Wanted) -> list[str]:
    """The groups a port is to be in: those asked for, else the project's default one."""
    if wanted is None:
        is_filtered = port.port_security_enabled and not port.device_owner.startswith("network:")
        return [known.default(port.project_id)] if is_filtered else []
    if wanted and not port.port_security_enabled:
        raise Invalid(
            "Port security must be enabled and port must have an IP address in order to use security groups.",
            "PortSecurityAndIPRequiredForSecurityGroups",
        )
    return known.require(port.project_id, wanted)


def _pairs(port: Port, pairs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Address pairs with the port's own MAC where none is given."""
    if pairs and not port.port_security_enabled:
        raise Conflict(
            "Port Security must be enabled in order to have allowed address pairs on a port.",
            "AddressPairAndPortSecurityRequired",
        )
    settled: list[dict[str, str]] = []
    for pair in pairs:
        full = {"mac_address": pair.get("mac_address") or port.mac_address, "ip_address": pair["ip_address"]}
        if full in settled:
            raise Invalid(
                f"Request contains duplicate address pair: mac_address {full['mac_address']} ip_address "
                f"{full['ip_address']}.",
                "DuplicateAddressPairInRequest",
            )
        settled.append(full)
    return settled
