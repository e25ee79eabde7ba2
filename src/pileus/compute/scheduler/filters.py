"""The default filters, in the order they are asked; each says in words why a host falls out.

Sources: compute admin guide, Compute schedulers.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pileus.compute.placement_model import AFFINITY, ANTI_AFFINITY
from pileus.compute.scheduler.groups import Group
from pileus.compute.scheduler.hoststate import HostState


class Request(msgspec.Struct, frozen=True):
    """What a server needs of its host. Resources by placement's classes: VCPU, MEMORY_MB (MiB), DISK_GB (GiB)."""

    server_id: str
    project_id: str
    user_id: str
    resources: Mapping[str, int]
    zone: str | None
    host: str | None
    hints: Mapping[str, Any]
    extra_specs: Mapping[str, str]
    image_properties: Mapping[str, str]
    excluded: tuple[str, ...] = ()
    group: Group | None = None

    def key(self) -> bytes:
        """Requests with the same key fit the same hosts, but for what their groups say."""
        hints = {name: value for name, value in self.hints.items() if name != "group"}
        named = self.project_id if hints else None  # hints name servers of the project
        return msgspec.msgpack.encode(
            [
                self.resources,
                self.zone,
                self.host,
                hints,
                named,
                self.extra_specs,
                self.image_properties,
                self.excluded,
            ]
        )

    def alone(self) -> Request:
        """The same of a server that is in no group."""
        return msgspec.structs.replace(self, group=None)


Check = Callable[[HostState, Request], str | None]
"""Why a host falls out; None: it does not."""


def _retry(host: HostState, request: Request) -> str | None:
    return "building there was tried and failed" if host.name in request.excluded else None


def _availability_zone(host: HostState, request: Request) -> str | None:
    if request.zone and host.zone != request.zone:
        return f"in zone {host.zone}, not {request.zone}"
    return None


def _room(resource_class: str, unit: str) -> Check:
    def check(host: HostState, request: Request) -> str | None:
        wanted = request.resources.get(resource_class, 0)
        if not wanted:
            return None
        room = host.rooms.get(resource_class)
        if room is None:
            return f"has no {resource_class}"
        if wanted > room.free:
            return f"{wanted} {unit} wanted, {max(0, room.free)} of {room.limit} free"
        return f"{wanted} {unit} wanted, at most {room.max_unit} for one server" if wanted > room.max_unit else None

    return check


def _compute(host: HostState, request: Request) -> str | None:
    if host.disabled:
        return "disabled"
    return None if host.up else "down"


def _capabilities(host: HostState, request: Request) -> str | None:
    """Extra specs trait:NAME=required|forbidden and capabilities:hypervisor_type."""
    for name, value in request.extra_specs.items():
        kind, _, trait = name.partition(":")
        if kind == "trait" and value == "required" and trait not in host.traits:
            return f"lacks trait {trait}"
        if kind == "trait" and value == "forbidden" and trait in host.traits:
            return f"has trait {trait}"
        if name == "capabilities:hypervisor_type" and value.lower() != host.hypervisor_type.lower():
            return f"hypervisor is {host.hypervisor_type}"
    return None


def _image_properties(host: HostState, request: Request) -> str | None:
    architecture = request.image_properties.get("hw_architecture") or request.image_properties.get("architecture")
    own = str(host.cpu_info.get("arch") or platform.machine())
    if architecture and architecture != own:
        return f"architecture is {own}"
    wanted = request.image_properties.get("img_hv_type") or request.image_properties.get("hypervisor_type")
    if wanted and wanted.lower() not in (host.hypervisor_type.lower(), "qemu", "kvm"):
        return f"hypervisor is {host.hypervisor_type}"
    return None


def _anti_affinity(host: HostState, request: Request) -> str | None:
    group = request.group
    if group is None or group.policy != ANTI_AFFINITY or (here := group.count(host.name)) < group.most:
        return None
    return f"has {here} of the group's servers, at most {group.most} allowed"


def _affinity(host: HostState, request: Request) -> str | None:
    group = request.group
    if group is None or group.policy != AFFINITY or not group.hosts or host.name in group.hosts:
        return None
    return f"the group's servers are on {', '.join(sorted(group.hosts))}"


def _hinted(request: Request, name: str) -> set[tuple[str, str]]:
    """The servers that a hint names. Another project's is none: where it is, is nobody else's to find out."""
    value = request.hints.get(name) or []
    return {(request.project_id, one) for one in ([value] if isinstance(value, str) else value)}


def _same_host(host: HostState, request: Request) -> str | None:
    wanted = _hinted(request, "same_host")
    return "none of the servers named by same_host is here" if wanted and not wanted & host.servers else None


def _different_host(host: HostState, request: Request) -> str | None:
    return "a server named by different_host is here" if _hinted(request, "different_host") & host.servers else None


def _forced_host(host: HostState, request: Request) -> str | None:
    return None if not request.host or request.host == host.name else f"host {request.host} was asked for"


BY_POLICY = {ANTI_AFFINITY: "ServerGroupAntiAffinityFilter", AFFINITY: "ServerGroupAffinityFilter"}
GROUP_FILTERS: tuple[tuple[str, Check], ...] = (
    (BY_POLICY[ANTI_AFFINITY], _anti_affinity),
    (BY_POLICY[AFFINITY], _affinity),
)
FILTERS: tuple[tuple[str, Check], ...] = (
    ("RetryFilter", _retry),
    ("AvailabilityZoneFilter", _availability_zone),
    ("RamFilter", _room("MEMORY_MB", "MiB")),
    ("DiskFilter", _room("DISK_GB", "GiB")),
    ("ComputeFilter", _compute),
    ("ComputeCapabilitiesFilter", _capabilities),
    ("ImagePropertiesFilter", _image_properties),
    *GROUP_FILTERS,
    ("SameHostFilter", _same_host),
    ("DifferentHostFilter", _different_host),
    ("CoreFilter", _room("VCPU", "vCPUs")),
    ("RequestedHostFilter", _forced_host),
)


class Outcome(msgspec.Struct):
    """What filtering came to: the hosts left, how many each filter left, and why each other host fell out."""

    hosts: list[HostState]
    counts: list[tuple[str, int]]
    reasons: dict[str, str]

    def counted(self, group: Group | None) -> list[tuple[str, int]]:
        """How many hosts each filter would have left to a server of a group, if this is of servers without one."""
        names = [name for name, _ in self.counts]
        if group is None or group.policy not in BY_POLICY or not group.hosts:
            return self.counts
        fell = {host.name: len(names) for host in self.hosts if host.name in group.hosts}
        fell |= {
            host: names.index(self.reasons[host].partition(":")[0]) for host in group.hosts if host in self.reasons
        }
        first = names.index(BY_POLICY[group.policy])
        full = {host for host in fell if group.count(host) >= group.most}

        def left(index: int, count: int) -> int:
            if group.policy == AFFINITY:
                return sum(position > index for position in fell.values())
            return count - sum(fell[host] > index for host in full)

        return [(name, left(n, count) if n >= first else count) for n, (name, count) in enumerate(self.counts)]


def run(hosts: list[HostState], request: Request) -> Outcome:
    """Ask every filter in turn."""
    counts: list[tuple[str, int]] = []
    reasons: dict[str, str] = {}
    left = hosts
    for name, check in FILTERS:
        passed = []
        for host in left:
            reason = check(host, request)
            if reason is None:
                passed.append(host)
            else:
                reasons[host.name] = f"{name}: {reason}"
        left = passed
        counts.append((name, len(left)))
    return Outcome(left, counts, reasons)


def is_full(host: HostState, request: Request) -> bool:
    """Whether a host that fitted has no room any more, after other claims of the pass."""
    return any(host.rooms[name].free < amount for name, amount in request.resources.items() if amount)


def taken(host: HostState, request: Request) -> str | None:
    """Why a host that fits the request but for its group is none for it now."""
    if is_full(host, request):
        return "claimed by other servers of the same pass"
    return next((f"{name}: {why}" for name, check in GROUP_FILTERS if (why := check(host, request))), None)
