"""The scheduler's board: every host in arrays, a column each.

A column is known to be right at the generation that its provider has. What a pass reads or claims is known when its
transaction is committed, and not before: one that is rolled back leaves hosts which the next pass reads again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pileus.compute.scheduler.hosts import HostState, Room
from pileus.compute.scheduler.request import Request

CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB")
"""The resource classes that servers ask for."""
FIELDS = Room.__struct_fields__
UNKNOWN = -1
"""In place of a generation: not to be relied on."""

Mask = NDArray[np.bool_]
"""Whether, for each host."""
Rows = list[int] | NDArray[np.intp]
K = TypeVar("K", bound=Hashable)


class Kinds(Generic[K]):
    """A column whose values many hosts share: each has the number of its value."""

    def __init__(self) -> None:
        self._values: list[K] = []
        self._numbers: dict[K, int] = {}
        self._column = np.zeros(0, np.intp)

    def __getitem__(self, row: int) -> K:
        return self._values[int(self._column[row])]

    def grow(self, count: int) -> None:
        """Have room for so many hosts in all."""
        self._column = _grown(self._column, count)

    def put(self, rows: Rows, values: Sequence[K]) -> None:
        """Set the values of hosts."""
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in values]
        self._values += list(self._numbers)[len(self._values) :]
        self._column[rows] = numbers

    def where(self, fits: Callable[[K], bool]) -> Mask:
        """The hosts whose value fits: asked once a value, not once a host."""
        found: Mask = np.array([fits(value) for value in self._values] or [False])[self._column]
        return found


class Touched:
    """The rows that one pass read or claimed of, with the generation that each had then."""

    def __init__(self) -> None:
        self.read: dict[int, int] = {}
        self.claimed: dict[int, int] = {}


class Board:
    """Hosts by row. What no provider's generation tells of is of the pass under way: `up`, `building`, `placed`.

    Attributes:
        rows: by name.
        has: whether a host has a resource class at all; this, total, limit, used and max_unit have a line for each of
            CLASSES.
        building: how many servers are being built on each host.
        placed: hosts by project and id of the servers that hints name.
        alphabetical: the rows in the order of the hosts' names.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.rows: dict[str, int] = {}
        self.provider_ids: list[str] = []
        self.zone, self.hypervisor_type, self.architecture = Kinds[str](), Kinds[str](), Kinds[str]()
        self.traits = Kinds[frozenset[str]]()
        self.placed: dict[tuple[str, str], str] = {}
        self.up: Mask = np.zeros(0, bool)
        self.disabled, self._forced_down = self.up.copy(), self.up.copy()
        self.building, self._generation = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._rooms = np.zeros((len(FIELDS), len(CLASSES), 0), np.int64)
        self.has: Mask = np.zeros((len(CLASSES), 0), bool)
        self.alphabetical = np.zeros(0, np.intp)
        self._unsettled: dict[int, Touched] = {}
        self._split()

    def __len__(self) -> int:
        return len(self.names)

    def _split(self) -> None:
        self.total, self.limit, self.used, self.max_unit = (self._rooms[field] for field in range(len(FIELDS)))

    # --- following the database -------------------------------------------------------------------------------

    def is_current(self, count: int, total: int) -> bool:
        """Whether nothing changed, by the number of providers and the sum of their generations.

        Generations only grow, and UNKNOWN is less than any: with a sum that is the same each of them is, unless
        another provider has taken the place of one (`boards.current`).
        """
        return len(self) == count and int(self._generation.sum()) == total

    def changed(self, generations: Sequence[tuple[str, int]]) -> list[str] | None:
        """The ids of providers that are new or have another generation; None if some are gone."""
        known = dict(zip(self.provider_ids, self._generation.tolist(), strict=True))
        changed = [provider_id for provider_id, generation in generations if known.get(provider_id) != generation]
        new = sum(provider_id not in known for provider_id in changed)
        return changed if len(generations) == len(known) + new else None

    def put(self, hosts: Sequence[HostState], touched: Touched) -> None:
        """Take over hosts as a pass reads them, new ones among them."""
        new = [host for host in hosts if host.name not in self.rows]
        self.rows |= {host.name: len(self) + number for number, host in enumerate(new)}
        self.names += [host.name for host in new]
        self.provider_ids += [host.provider_id for host in new]
        self._grow()
        rows = [self.rows[host.name] for host in hosts]
        self._generation[rows] = UNKNOWN
        touched.read |= {row: host.generation for row, host in zip(rows, hosts, strict=True)}
        self._unsettled |= dict.fromkeys(rows, touched)
        for name in ("zone", "hypervisor_type", "architecture", "traits"):
            getattr(self, name).put(rows, [getattr(host, name) for host in hosts])
        self.disabled[rows] = [host.disabled for host in hosts]
        self._forced_down[rows] = [host.forced_down for host in hosts]
        none = Room(0, 0, 0, 0)
        rooms = [[host.rooms.get(name, none) for host in hosts] for name in CLASSES]
        self._rooms[:, :, rows] = [[[getattr(room, field) for room in line] for line in rooms] for field in FIELDS]
        self.has[:, rows] = [[room is not none for room in line] for line in rooms]

    def _grow(self) -> None:
        count = len(self.names)
        if count == len(self._generation):
            return
        for name in ("up", "disabled", "_forced_down", "building", "_generation", "_rooms", "has"):
            setattr(self, name, _grown(getattr(self, name), count))
        for kinds in (self.zone, self.hypervisor_type, self.architecture, self.traits):
            kinds.grow(count)
        self.alphabetical = np.argsort(np.array(self.names))
        self._split()

    def begin(self, silent: Sequence[str], building: Mapping[str, int], placed: dict[tuple[str, str], str]) -> None:
        """A pass begins: these hosts are silent, these build servers, and these servers are named by hints."""
        self.up = ~self._forced_down
        self.up[self.rows_of(silent)] = False
        self.building[:] = 0
        for name, count in building.items():
            self.building[self.rows_of([name])] = count
        self.placed = placed

    # --- claims -----------------------------------------------------------------------------------------------

    def has_room(self, row: int, resources: Mapping[str, int]) -> bool:
        """Whether resources fit into what is free of a host."""
        return all(self.free(name, row) >= amount for name, amount in resources.items() if amount)

    def free(self, resource_class: str, row: int) -> int:
        """How much of a resource class is free; less than nothing where more is used than may be."""
        line = CLASSES.index(resource_class)
        return int(self.limit[line, row] - self.used[line, row])

    def take(self, row: int, request: Request, touched: Touched) -> None:
        """Note a claim of a pass."""
        if row not in touched.claimed:
            touched.claimed[row] = touched.read.get(row, int(self._generation[row]))
            self._unsettled[row] = touched
            self._generation[row] = UNKNOWN
        for name, amount in request.resources.items():
            self.used[CLASSES.index(name), row] += amount
        self.building[row] += 1
        self.placed[request.project_id, request.server_id] = self.names[row]

    def settle(self, touched: Touched) -> None:
        """A pass was committed, and its claims moved generations on by one."""
        after = touched.read | {row: generation + 1 for row, generation in touched.claimed.items()}
        for row, generation in after.items():
            if self._unsettled.get(row) is touched:  # else another pass has read it since
                del self._unsettled[row]
                self._generation[row] = generation

    # --- rows -------------------------------------------------------------------------------------------------

    def rows_of(self, names: Sequence[str]) -> list[int]:
        """The rows of hosts; those that are not on the board have none."""
        return [self.rows[name] for name in names if name in self.rows]

    def among(self, names: Sequence[str]) -> Mask:
        """Whether a host is one of these."""
        found: Mask = np.zeros(len(self), bool)
        found[self.rows_of(names)] = True
        return found


def _grown(column: NDArray[Any], count: int) -> NDArray[Any]:
    """A copy with room for so many hosts in all."""
    wider = np.zeros((*column.shape[:-1], count), column.dtype)
    wider[..., : column.shape[-1]] = column
    return wider
