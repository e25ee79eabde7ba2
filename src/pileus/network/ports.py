"""Ports: the verbs (api-ref network, Ports)."""

from __future__ import annotations

from sqlalchemy import update as sql_update

from pileus.api import ITSELF, Asks, Values
from pileus.db import Session, new_id
from pileus.errors import Conflict, Invalid
from pileus.network import ipam, mac, networks, quotas, sync
from pileus.network import security_groups as groups_module
from pileus.network.model import Network, Port, PortSecurityGroup, SecurityGroup
from pileus.network.quotas import METADATA_OWNER

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


def create(session: Session, values: Values, asks: Asks = ITSELF) -> Port:
    """Create a port, with a MAC and addresses.

    Raises:
        NotFound, QuotaExceeded, Invalid, Conflict.
    """
    network = session.get(Network, values["network_id"])
    if network is None:
        raise networks.missing(values["network_id"])
    quotas.take(session, values["project_id"], "port")
    ipam.lock(session, network.id)
    port = Port(id=new_id(), network_id=network.id, project_id=values["project_id"], network=network)
    for name in _PLAIN:
        if name in values:
            setattr(port, COLUMNS.get(name, name), values[name])
    if values.get("port_security_enabled") is None:
        port.port_security_enabled = network.port_security_enabled
    port.device_owner = port.device_owner or ""
    port.mac_address = _new_mac(session, network.id, values.get("mac_address"))
    port.fixed_ips = ipam.allocate(session, network, port.mac_address, values.get("fixed_ips"))
    port.allowed_address_pairs = _pairs(port, values.get("allowed_address_pairs") or [])
    port.group_links = [
        PortSecurityGroup(security_group_id=id) for id in _groups(session, port, values.get("security_groups"))
    ]
    session.add(port)
    session.flush()
    if host := values.get("binding:host_id"):
        bind(session, port, host)
        sync.port_changed(session, port, asks.request_id)
    return port


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
        set_groups(session, row, _groups(session, row, values["security_groups"]))
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


def bind(session: Session, port: Port, host: str) -> None:
    """Put a port on a host: from now on the agents know its network and security groups."""
    port.host = host
    if not port.network.wired:
        session.execute(sql_update(Network).where(Network.id == port.network_id).values(wired=True))
    if port.group_links:
        session.execute(
            sql_update(SecurityGroup)
            .where(SecurityGroup.id.in_(port.security_group_ids), SecurityGroup.wired.is_(False))
            .values(wired=True)
        )


def unbind(port: Port) -> None:
    """Take a port off its host."""
    port.host = ""
    port.status = "DOWN"


def set_groups(session: Session, port: Port, group_ids: list[str]) -> None:
    """Make these the port's security groups."""
    if set(group_ids) == set(port.security_group_ids):
        return
    kept = {link.security_group_id: link for link in port.group_links}
    port.group_links = [kept.get(id) or PortSecurityGroup(security_group_id=id) for id in group_ids]
    port.touch()
    session.flush()


def _new_mac(session: Session, network_id: str, wanted: str | None) -> str:
    if wanted is None:
        return mac.generate(session, network_id)
    if mac.taken(session, network_id, wanted):
        raise Conflict(
            f"Unable to complete operation for network {network_id}. The mac address {wanted} is in use.",
            "MacAddressInUse",
        )
    return wanted


def _change_mac(session: Session, row: Port, wanted: str) -> None:
    if row.host:
        raise Conflict(
            f"Unable to complete operation on port {row.id}, port is already bound, port type: ovs, old_mac "
            f"{row.mac_address}, new_mac {wanted}.",
            "PortBound",
        )
    row.mac_address = _new_mac(session, row.network_id, wanted)
    ipam.follow_mac(session, row, wanted)
    session.flush()


def _groups(session: Session, port: Port, wanted: list[str] | None) -> list[str]:
    """The groups a port is to be in: those asked for, else the project's default one."""
    if wanted is None:
        if not port.port_security_enabled or port.device_owner.startswith("network:"):
            return []
        return [groups_module.default(session, port.project_id).id]
    if wanted and not port.port_security_enabled:
        raise Invalid(
            "Port security must be enabled and port must have an IP address in order to use security groups.",
            "PortSecurityAndIPRequiredForSecurityGroups",
        )
    return groups_module.require(session, port.project_id, wanted)


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
