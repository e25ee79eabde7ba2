"""The default filters, in the order they are asked; each says in words why a host falls out.

Sources: compute admin guide, Compute schedulers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from pileus.compute.placement_model import AFFINITY, ANTI_AFFINITY
from pileus.compute.scheduler.board import CLASSES, Board, Mask
from pileus.compute.scheduler.groups import Group
from pileus.compute.scheduler.request import AWAY, NEAR, Request


class Filter(msgspec.Struct, frozen=True):
    """A filter.

    Attributes:
        fits: which hosts it leaves; None: all.
        why: the reason that there is against a host that it does not leave.
    """

    name: str
    fits: Callable[[Board, Request], Mask | None]
    why: Callable[[Board, int, Request], str]


def _retry(board: Board, request: Request) -> Mask | None:
    return ~board.among(request.excluded) if request.excluded else None


def _why_not_again(board: Board, row: int, request: Request) -> str:
    return "the server is to leave it" if board.names[row] == request.source else "it was tried there and failed"


def _availability_zone(board: Board, request: Request) -> Mask | None:
    return board.zone.where(lambda zone: zone == request.zone) if request.zone else None


def _room(name: str, resource_class: str, unit: str) -> Filter:
    line = CLASSES.index(resource_class)

    def fits(board: Board, request: Request) -> Mask | None:
        wanted = request.resources.get(resource_class, 0)
        if not wanted:
            return None
        free = board.limit[line] - board.used[line]
        found: Mask = board.has[line] & (free >= wanted) & (board.max_unit[line] >= wanted)
        return found

    def why(board: Board, row: int, request: Request) -> str:
        if not board.has[line, row]:
            return f"has no {resource_class}"
        wanted, free = request.resources[resource_class], board.free(resource_class, row)
        if wanted > free:
            return f"{wanted} {unit} wanted, {max(0, free)} of {board.limit[line, row]} free"
        return f"{wanted} {unit} wanted, at most {board.max_unit[line, row]} for one server"

    return Filter(name, fits, why)


def _compute(board: Board, request: Request) -> Mask | None:
    return board.up if request.forced else board.up & ~board.disabled


Condition = tuple[Mask, Callable[[int], str]]
"""Who fits, and why who does not."""


def _capable(board: Board, request: Request) -> Iterator[Condition]:
    """Extra specs trait:NAME=required|forbidden and capabilities:hypervisor_type."""
    for name, value in request.extra_specs.items():
        kind, _, trait = name.partition(":")
        if kind == "trait" and value in ("required", "forbidden"):
            yield _with(board, trait) if value == "required" else _without(board, trait)
        if name == "capabilities:hypervisor_type":
            yield _hypervisor(board, {value.lower()})


def _with(board: Board, trait: str) -> Condition:
    return board.traits.where(lambda traits: trait in traits), lambda _: f"lacks trait {trait}"


def _without(board: Board, trait: str) -> Condition:
    return board.traits.where(lambda traits: trait not in traits), lambda _: f"has trait {trait}"


def _hypervisor(board: Board, wanted: set[str]) -> Condition:
    fits = board.hypervisor_type.where(lambda own: own.lower() in wanted)
    return fits, lambda row: f"hypervisor is {board.hypervisor_type[row]}"


def _for_image(board: Board, request: Request) -> Iterator[Condition]:
    """Properties of the image."""
    properties = request.image_properties
    architecture = properties.get("hw_architecture") or properties.get("architecture")
    if architecture:
        fits = board.architecture.where(lambda own: own == architecture)
        yield fits, lambda row: f"architecture is {board.architecture[row]}"
    wanted = properties.get("img_hv_type") or properties.get("hypervisor_type")
    if wanted and wanted.lower() not in ("qemu", "kvm"):  # of which every host is one
        yield _hypervisor(board, {wanted.lower()})


def _each(name: str, conditions: Callable[[Board, Request], Iterator[Condition]]) -> Filter:
    """A filter of several conditions; it names the first that a host does not meet."""

    def fits(board: Board, request: Request) -> Mask | None:
        masks = [mask for mask, _ in conditions(board, request)]
        return np.logical_and.reduce(masks) if masks else None

    def why(board: Board, row: int, request: Request) -> str:
        return next(said(row) for mask, said in conditions(board, request) if not mask[row])

    return Filter(name, fits, why)


def _anti_affinity(board: Board, request: Request) -> Mask | None:
    group = request.group
    if group is None or group.policy != ANTI_AFFINITY:
        return None
    return ~board.among([host for host, count in group.hosts.items() if count >= group.most])


def _too_many(board: Board, row: int, request: Request) -> str:
    assert request.group is not None
    here = request.group.count(board.names[row])
    return f"has {here} of the group's servers, at most {request.group.most} allowed"


def _affinity(board: Board, request: Request) -> Mask | None:
    group = request.group
    if group is None or group.policy != AFFINITY or not group.hosts:
        return None
    return board.among(list(group.hosts))


def _elsewhere(_board: Board, _row: int, request: Request) -> str:
    assert request.group is not None
    return f"the group's servers are on {', '.join(sorted(request.group.hosts))}"


def _hosts_of(board: Board, request: Request, hint: str) -> Mask:
    """The hosts of the servers that a hint names. Another project's is none: where it is, is nobody else's to know."""
    servers = [(request.project_id, server_id) for server_id in request.named(hint)]
    return board.among([board.placed[one] for one in servers if one in board.placed])


def _same_host(board: Board, request: Request) -> Mask | None:
    return _hosts_of(board, request, NEAR) if request.named(NEAR) else None


def _different_host(board: Board, request: Request) -> Mask | None:
    return ~_hosts_of(board, request, AWAY) if request.named(AWAY) else None


def _requested(board: Board, request: Request) -> Mask | None:
    return board.among([request.host]) if request.host else None


BY_POLICY = {ANTI_AFFINITY: "ServerGroupAntiAffinityFilter", AFFINITY: "ServerGroupAffinityFilter"}
GROUP_FILTERS = (
    Filter(BY_POLICY[ANTI_AFFINITY], _anti_affinity, _too_many),
    Filter(BY_POLICY[AFFINITY], _affinity, _elsewhere),
)
FILTERS = (
    Filter("RetryFilter", _retry, _why_not_again),
    Filter(
        "AvailabilityZoneFilter",
        _availability_zone,
        lambda board, row, request: f"in zone {board.zone[row]}, not {request.zone}",
    ),
    _room("RamFilter", "MEMORY_MB", "MiB"),
    _room("DiskFilter", "DISK_GB", "GiB"),
    Filter("ComputeFilter", _compute, lambda board, row, _: "disabled" if board.disabled[row] else "down"),
    _each("ComputeCapabilitiesFilter", _capable),
    _each("ImagePropertiesFilter", _for_image),
    *GROUP_FILTERS,
    Filter("SameHostFilter", _same_host, lambda *_: "none of the servers named by same_host is here"),
    Filter("DifferentHostFilter", _different_host, lambda *_: "a server named by different_host is here"),
    _room("CoreFilter", "VCPU", "vCPUs"),
    Filter("RequestedHostFilter", _requested, lambda _board, _row, request: f"host {request.host} was asked for"),
)
NAMES = [one.name for one in FILTERS]


class Outcome:
    """What filtering came to.

    Attributes:
        left: the hosts that fit.
        counts: how many each filter left.
    """

    def __init__(self, board: Board, request: Request) -> None:
        """Ask every filter in turn."""
        self._board = board
        self.left: Mask = np.ones(len(board), bool)
        self.counts: list[tuple[str, int]] = []
        self._fell = np.full(len(board), len(FILTERS), np.int8)  # at which filter
        count = len(board)
        for position, one in enumerate(FILTERS):
            fits = one.fits(board, request) if count else None
            if fits is not None:
                self._fell[self.left & ~fits] = position
                self.left &= fits
                count = int(np.count_nonzero(self.left))
            self.counts.append((one.name, count))

    def counted(self, group: Group | None) -> list[tuple[str, int]]:
        """How many hosts each filter would have left to a server of a group, if this is of servers without one."""
        if group is None or group.policy not in BY_POLICY or not group.hosts:
            return self.counts
        board = self._board
        fell = {board.names[row]: int(self._fell[row]) for row in board.rows_of(list(group.hosts))}
        first = NAMES.index(BY_POLICY[group.policy])
        full = {host for host in fell if group.count(host) >= group.most}

        def left(index: int, count: int) -> int:
            if group.policy == AFFINITY:
                return sum(position > index for position in fell.values())
            return count - sum(fell[host] > index for host in full)

        return [(name, left(n, count) if n >= first else count) for n, (name, count) in enumerate(self.counts)]

    def reasons(self, request: Request, most: int) -> list[tuple[str, str]]:
        """Hosts, at most so many, with the reason against each: first those that fitted until others claimed them."""
        board = self._board
        rows = board.alphabetical
        ranks = (self._fell[rows] + 1) % (len(FILTERS) + 1)
        named = rows[np.argsort(ranks, kind="stable")[:most]].tolist()
        return [(board.names[row], self._why(row, request)) for row in named]

    def _why(self, row: int, request: Request) -> str:
        position = int(self._fell[row])
        if position < len(FILTERS):
            return f"{NAMES[position]}: {FILTERS[position].why(self._board, row, request)}"
        if not self._board.has_room(row, request.resources):
            return "claimed by other servers of the same pass"
        against = ((one, one.fits(self._board, request)) for one in GROUP_FILTERS)
        return next(
            f"{one.name}: {one.why(self._board, row, request)}"
            for one, fits in against
            if fits is not None and not fits[row]
        )
