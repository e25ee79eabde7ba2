"""The scheduler's pure parts: filters say why, weighers spread, no pass claims more than there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute.placement_model import AFFINITY, ANTI_AFFINITY, HARD, SOFT, SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from pileus.compute.scheduler import filters
from pileus.compute.scheduler.board import CLASSES, Board, Touched
from pileus.compute.scheduler.groups import Group
from pileus.compute.scheduler.hosts import HostState, Room
from pileus.compute.scheduler.passes import Pass
from pileus.compute.scheduler.request import Request
from pileus.operations import CommandError
from tests.unit.compute.scheduler.examples import host, request

ORDER = [
    "RetryFilter", "AvailabilityZoneFilter", "RamFilter", "DiskFilter", "ComputeFilter", "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter", "ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter", "SameHostFilter",
    "DifferentHostFilter",
]  # fmt: skip


def sized(name: str, **sizes: int) -> HostState:
    """A host with so much of each resource class and no more."""
    return host(name, rooms={one: Room(total=size, limit=size, used=0, max_unit=size) for one, size in sizes.items()})


def board_of(
    hosts: list[HostState], silent: tuple[str, ...] = (), placed: dict[tuple[str, str], str] | None = None
) -> Board:
    board = Board()
    board.put(hosts, Touched())
    board.begin(silent, {}, placed or {})
    return board


def begun(*hosts: HostState, **others: Any) -> Pass:
    """A pass over hosts."""
    return Pass(board_of(list(hosts), **others), Touched())


def refusal(result: object) -> str:
    """The reasons that a failure gives."""
    assert isinstance(result, CommandError) and result.code == "no-valid-host"
    return result.message.removeprefix("No valid host was found. There are not enough hosts available: ")


def test_filters_are_asked_in_the_documented_order() -> None:
    outcome = filters.Outcome(board_of([host(), host("h2")]), request())
    assert [name for name, _ in outcome.counts][: len(ORDER)] == ORDER
    assert {count for _, count in outcome.counts} == {2} and outcome.left.tolist() == [True, True]


@pytest.mark.parametrize(
    ("of_host", "of_request", "reason"),
    [
        ({}, {"excluded": ("h1",)}, "RetryFilter: it was tried there and failed"),
        ({"zone": "west"}, {"zone": "east"}, "AvailabilityZoneFilter: in zone west, not east"),
        ({}, {"resources": {"MEMORY_MB": 5000}}, "RamFilter: 5000 MiB wanted, 4096 of 4096 free"),
        ({}, {"resources": {"DISK_GB": 101}}, "DiskFilter: 101 GiB wanted, 100 of 100 free"),
        ({"rooms": {}}, {"resources": {"DISK_GB": 1}}, "DiskFilter: has no DISK_GB"),
        ({"forced_down": True}, {}, "ComputeFilter: down"),
        ({"disabled": True}, {}, "ComputeFilter: disabled"),
        ({}, {"extra_specs": {"trait:COMPUTE_X": "required"}}, "ComputeCapabilitiesFilter: lacks trait COMPUTE_X"),
        (
            {},
            {"extra_specs": {"trait:HW_CPU_X86_AVX": "forbidden"}},
            "ComputeCapabilitiesFilter: has trait HW_CPU_X86_AVX",
        ),
        ({}, {"image_properties": {"hw_architecture": "aarch64"}}, "ImagePropertiesFilter: architecture is x86_64"),
        ({}, {"image_properties": {"img_hv_type": "hyperv"}}, "ImagePropertiesFilter: hypervisor is QEMU"),
        (
            {},
            {"image_properties": {"hw_architecture": "x86_64", "img_hv_type": "hyperv"}},
            "ImagePropertiesFilter: hypervisor is QEMU",
        ),
        (
            {},
            {"extra_specs": {"capabilities:hypervisor_type": "xen"}},
            "ComputeCapabilitiesFilter: hypervisor is QEMU",
        ),
        (
            {},
            {"hints": {"same_host": "foreign"}},
            "SameHostFilter: none of the servers named by same_host is here",
        ),
        (
            {},
            {"hints": {"different_host": ["near", "c"]}},
            "DifferentHostFilter: a server named by different_host is here",
        ),
        (
            {},
            {"group": Group("g", ANTI_AFFINITY, 2, {"h1": 2})},
            "ServerGroupAntiAffinityFilter: has 2 of the group's servers, at most 2 allowed",
        ),
        (
            {},
            {"group": Group("g", AFFINITY, 1, {"h3": 1, "h2": 4})},
            "ServerGroupAffinityFilter: the group's servers are on h2, h3",
        ),
        ({}, {"resources": {"VCPU": 5}}, "CoreFilter: 5 vCPUs wanted, at most 4 for one server"),
        ({}, {"host": "h9"}, "RequestedHostFilter: host h9 was asked for"),
    ],
)
def test_a_filter_says_why(of_host: dict[str, Any], of_request: dict[str, Any], reason: str) -> None:
    placed = {("p", "near"): "h1", ("another", "foreign"): "h1"}
    board = board_of([host(**of_host)], placed=placed)
    outcome = filters.Outcome(board, request(**of_request))
    assert outcome.left.tolist() == [False] and outcome.reasons(request(**of_request), 20) == [("h1", reason)]
    refused = begun(host(**of_host), placed=placed).choose(request(**of_request))
    assert refusal(refused) == f"h1 ({reason})."


@pytest.mark.parametrize(
    "wanted",
    [
        {"extra_specs": {"trait:HW_CPU_X86_AVX": "required", "capabilities:hypervisor_type": "qemu"}},
        {"extra_specs": {"trait:COMPUTE_X": "forbidden", "hw:other": "x"}},
        {"image_properties": {"hw_architecture": "x86_64", "img_hv_type": "kvm"}},
        {"zone": "nova", "host": "h1"},
    ],
)
def test_who_has_what_is_wanted_is_left(wanted: dict[str, Any]) -> None:
    assert begun(host()).choose(request(**wanted))["host"] == "h1"  # type: ignore[index]


def test_a_silent_host_is_down() -> None:
    this = begun(host("h1"), host("h2"), silent=("h1", "unknown"))
    assert {this.choose(request(f"s{n}"))["host"] for n in range(3)} == {"h2"}  # type: ignore[index]


def test_a_foreign_server_is_none_to_be_near_to_or_away_from() -> None:
    """Who knew the id of another's server had his own put next to it, and was told which hosts it is not on."""
    this = begun(host("h1"), host("h2"), placed={("p", "a"): "h1"})
    assert isinstance(this.choose(request("s1", project_id="q", hints={"same_host": "a"})), CommandError)
    assert this.choose(request("s2", hints={"same_host": "a"}))["host"] == "h1"  # type: ignore[index]
    away: dict[str, Any] = {"project_id": "q", "hints": {"different_host": ["a"]}}
    chosen = [this.choose(request(f"s{number}", **away)) for number in range(3, 7)]
    assert {one["host"] for one in chosen} == {"h1", "h2"}  # type: ignore[index]


def test_a_server_of_the_same_pass_can_be_near() -> None:
    this = begun(host("h1"), host("h2"))
    first = this.choose(request("s1"))
    near = this.choose(request("s2", hints={"same_host": ["s1"]}))
    assert near["host"] == first["host"]  # type: ignore[index]


def test_a_full_host_is_not_over_committed_by_the_overhead_of_being_full() -> None:
    full = host(rooms={"MEMORY_MB": Room(total=100, limit=100, used=150, max_unit=100)})
    refused = begun(full).choose(request(resources={"MEMORY_MB": 1}))
    assert refusal(refused) == "h1 (RamFilter: 1 MiB wanted, 0 of 100 free)."


def test_servers_spread_over_equal_hosts() -> None:
    this = begun(*(host(f"h{n}") for n in range(4)))
    chosen = [this.choose(request(f"s{n}"))["host"] for n in range(12)]  # type: ignore[index]
    assert {chosen.count(f"h{n}") for n in range(4)} == {3}


def test_the_emptier_host_is_better() -> None:
    used = {"VCPU": Room(4, 16, 2, 4), "MEMORY_MB": Room(4096, 4096, 2048, 4096), "DISK_GB": Room(100, 100, 50, 100)}
    assert begun(host("used", rooms=used), host("empty")).choose(request())["host"] == "empty"  # type: ignore[index]


def test_the_host_that_builds_fewer_is_better() -> None:
    board = board_of([host("busy"), host("idle")])
    board.begin([], {"busy": 2, "unknown": 1}, {})
    wanted = request(resources={"DISK_GB": 1})
    assert Pass(board, Touched()).choose(wanted)["host"] == "idle"  # type: ignore[index]
    board.begin([], {"idle": 9}, {})
    assert Pass(board, Touched()).choose(wanted)["host"] == "busy", "what it built then counts no more"  # type: ignore[index]


def test_a_claim_says_what_there_was() -> None:
    this = begun(host())
    this.choose(request("s1"))
    events = {one["name"]: one["detail"] for one in this.choose(request("s2"))["_events"]}  # type: ignore[index]
    assert events["filter RamFilter"] == {"hosts": 1} and events["weigh"] == {"host": "h1", "weight": 0.0}
    assert events["claim"]["MEMORY_MB"] == {"requested": 512, "total": 4096, "limit": 4096, "used": 512}
    assert {type(value) for line in events["claim"].values() for value in line.values()} == {int}


def test_many_hosts_are_not_all_named() -> None:
    hosts = [host(f"h{n:02}", forced_down=n != 3, disabled=n == 3) for n in range(25)]
    refused = refusal(begun(*reversed(hosts)).choose(request()))
    assert refused.endswith("h19 (ComputeFilter: down); and 5 more.") and "h03 (ComputeFilter: disabled)" in refused


def test_those_that_were_taken_meanwhile_are_named_first() -> None:
    hosts = [host("a", forced_down=True), sized("b", VCPU=1), host("c", zone="west"), sized("d", VCPU=1)]
    this = begun(*hosts)
    of_nova = {"zone": "nova", "resources": {"VCPU": 1}}
    assert {this.choose(request(f"s{n}", **of_nova))["host"] for n in range(2)} == {"b", "d"}  # type: ignore[index]
    taken = "claimed by other servers of the same pass"
    zone, down = "AvailabilityZoneFilter: in zone west, not nova", "ComputeFilter: down"
    assert refusal(this.choose(request("s2", **of_nova))) == f"b ({taken}); d ({taken}); c ({zone}); a ({down})."


def test_no_hosts_at_all() -> None:
    assert refusal(begun().choose(request())) == "no host is known."


sizes = st.fixed_dictionaries(
    {"VCPU": st.integers(0, 6), "MEMORY_MB": st.integers(0, 3000), "DISK_GB": st.integers(0, 60)}
)
rooms = st.fixed_dictionaries(
    {
        "VCPU": st.integers(1, 16),
        "MEMORY_MB": st.integers(1, 8192),
        "DISK_GB": st.integers(1, 200),
    }
)


def free(board: Board, row: int, resources: dict[str, int]) -> bool:
    return all(board.used[n, row] + resources.get(name, 0) <= board.limit[n, row] for n, name in enumerate(CLASSES))


@given(st.lists(rooms, min_size=1, max_size=5), st.lists(sizes, max_size=30))
def test_a_pass_never_claims_more_than_the_limit(limits: list[dict[str, int]], wanted: list[dict[str, int]]) -> None:
    board = board_of([sized(f"h{n}", **one) for n, one in enumerate(limits)])
    this, claimed = Pass(board, Touched()), [dict.fromkeys(CLASSES, 0) for _ in limits]
    for number, resources in enumerate(wanted):
        left = [free(board, row, resources) for row in range(len(limits))]
        result = this.choose(request(f"s{number}", resources={k: v for k, v in resources.items() if v}))
        if isinstance(result, CommandError):
            assert not any(left), "a host with room was passed over"
            continue
        for name, amount in resources.items():
            claimed[board.rows[result["host"]]][name] += amount
    for row, one in enumerate(limits):
        for line, name in enumerate(CLASSES):
            assert board.used[line, row] == claimed[row][name] <= one[name]


# --- server groups ------------------------------------------------------------------------------------------------


def chosen(this: Pass, requests: list[Request]) -> list[str | None]:
    """The hosts of a batch, None where there was none."""
    results = [this.choose(one) for one in requests]
    return [None if isinstance(one, CommandError) else one["host"] for one in results]


def batch(group: Group, count: int, **changes: Any) -> list[Request]:
    return [request(f"{group.id}-{n}", group=group, **changes) for n in range(count)]


def test_a_batch_under_anti_affinity_has_a_host_for_each() -> None:
    this = begun(*(host(f"h{n}") for n in range(10)))
    placed = chosen(this, batch(Group("g", ANTI_AFFINITY, hosts={"h3": 1}), 10))
    assert set(placed[:9]) == {f"h{n}" for n in range(10)} - {"h3"} and placed[9] is None


def test_groups_of_equal_servers_take_turns_and_share_a_filtering(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    made = filters.Outcome
    monkeypatch.setattr(filters, "Outcome", lambda *given: asked.append("run") or made(*given))
    this, known = begun(*(host(f"h{n}") for n in range(4))), [Group(f"g{n}", ANTI_AFFINITY) for n in range(3)]
    wanted = [request(f"s{n}", group=known[n % 3], hints={"group": known[n % 3].id}) for n in range(12)]
    placed = chosen(this, wanted)
    assert [set(placed[n::3]) for n in range(3)] == [{"h0", "h1", "h2", "h3"}] * 3 and asked == ["run"]


@pytest.mark.parametrize(
    ("group", "lost"),
    [
        (Group("g", ANTI_AFFINITY, 1, {"h0": 1, "h1": 2, "down": 1, "unknown": 1}), 2),
        (Group("g", ANTI_AFFINITY, 2, {"h0": 1, "h1": 2}), 1),
        (Group("g", AFFINITY, 1, {"h0": 1, "h1": 2, "down": 1, "unknown": 1}), 3),
        (Group("g", AFFINITY), 0),
        (Group("g", SOFT_AFFINITY, 1, {"h0": 1}), 0),
    ],
)
def test_the_count_of_each_filter_is_the_one_of_the_group(group: Group, lost: int) -> None:
    """Filters tell how many hosts they left, though those of groups are not asked for the ranking that groups share."""
    small = host("small", rooms={"VCPU": Room(1, 0, 0, 1)})
    board = board_of([host("down", forced_down=True), *(host(f"h{n}") for n in range(5)), small])
    wanted = request(group=group, resources={"VCPU": 1})
    counted = filters.Outcome(board, wanted.alone()).counted(group)
    assert counted == filters.Outcome(board, wanted).counts and counted[-1][1] == 5 - lost


def test_a_batch_under_affinity_is_on_one_host() -> None:
    this, group = begun(*(host(f"h{n}") for n in range(10))), Group("g", AFFINITY)
    placed = chosen(this, batch(group, 9, resources={"MEMORY_MB": 512}))
    assert len(set(placed[:8])) == 1 and placed[8] is None
    unlike = request("other", group=group, resources={"VCPU": 1})
    assert chosen(this, [unlike]) == placed[:1], "where its group is, though it is another size"


def test_a_batch_with_a_greatest_number_a_host() -> None:
    placed = chosen(begun(*(host(f"h{n}") for n in range(3))), batch(Group("g", ANTI_AFFINITY, 2), 7))
    assert sorted(map(placed.count, {"h0", "h1", "h2"})) == [2, 2, 2] and placed[6] is None


def test_soft_affinity_outweighs_what_is_free() -> None:
    used = {"VCPU": Room(4, 16, 8, 4), "MEMORY_MB": Room(4096, 4096, 2048, 4096), "DISK_GB": Room(100, 100, 50, 100)}
    group = Group("g", SOFT_AFFINITY, hosts={"full": 1})
    placed = chosen(
        begun(host("full", rooms=used), host("h1"), host("h2")), batch(group, 6, resources={"MEMORY_MB": 1024})
    )
    assert placed[:2] == ["full", "full"] and len(set(placed[2:])) == 1


def test_soft_affinity_follows_what_unlike_servers_of_the_group_did() -> None:
    """To have one more of the group makes a host better, also for requests that were ranked before."""
    big, small = {"MEMORY_MB": 1024}, {"MEMORY_MB": 64}
    tight = sized("tight", MEMORY_MB=512)
    this, group = begun(tight, host("h1"), host("h2")), Group("g", SOFT_AFFINITY, hosts={"tight": 1})
    assert chosen(this, batch(group, 1, resources=small)) == ["tight"]
    (other,) = set(chosen(this, batch(group, 3, resources=big)))
    assert chosen(this, batch(group, 1, resources=small)) == [other] != ["tight"]


def test_soft_anti_affinity_goes_where_fewest_are() -> None:
    this, group = begun(host("h0"), host("h1")), Group("g", SOFT_ANTI_AFFINITY, hosts={"h0": 3})
    assert chosen(this, batch(group, 5)).count("h1") == 4


groups = st.lists(st.tuples(st.sampled_from([*HARD, *SOFT]), st.integers(1, 3)), min_size=1, max_size=3)


def fitting(board: Board, group: Group | None, resources: dict[str, int]) -> list[str]:
    """Hosts that a request may be put on, by the words of the policies."""
    names = [name for name, row in board.rows.items() if free(board, row, resources)]
    if group and group.policy == ANTI_AFFINITY:
        return [name for name in names if group.count(name) < group.most]
    return [name for name in names if not (group and group.policy == AFFINITY and group.hosts) or group.count(name)]


joining = st.lists(st.tuples(st.integers(0, 3), sizes), max_size=25)


@given(st.lists(rooms, min_size=1, max_size=5), groups, joining)
def test_a_pass_never_breaks_a_hard_policy(
    limits: list[dict[str, int]], policies: list[tuple[str, int]], wanted: list[tuple[int, dict[str, int]]]
) -> None:
    known = [Group(f"g{n}", policy, most) for n, (policy, most) in enumerate(policies)]
    board = board_of([sized(f"h{n}", **one) for n, one in enumerate(limits)])
    this, placed = Pass(board, Touched()), {group.id: list[str]() for group in known}
    for number, (which, resources) in enumerate(wanted):
        group = known[which] if which < len(known) else None
        resources = {name: amount for name, amount in resources.items() if amount}
        before = fitting(board, group, resources)
        preferences = {name: group.preference(name) if group else 0 for name in before}
        result = this.choose(request(f"s{number}", resources=resources, group=group))
        if isinstance(result, CommandError):
            assert before == [], "a host that fits was passed over"
        elif group:
            placed[group.id].append(result["host"])
            assert preferences[result["host"]] == max(preferences.values())
    for group in known:
        counts = [placed[group.id].count(name) for name in set(placed[group.id])]
        assert group.hosts == {name: placed[group.id].count(name) for name in set(placed[group.id])}
        assert group.policy != ANTI_AFFINITY or max(counts, default=0) <= group.most
        assert group.policy != AFFINITY or len(counts) <= 1
