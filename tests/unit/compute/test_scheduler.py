"""The scheduler's pure parts: filters say why, weighers spread, no pass claims more than there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute.placement_model import AFFINITY, ANTI_AFFINITY, HARD, SOFT, SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from pileus.compute.scheduler import filters
from pileus.compute.scheduler.board import Board
from pileus.compute.scheduler.filters import Request
from pileus.compute.scheduler.groups import Group
from pileus.compute.scheduler.hoststate import HostState, Room
from pileus.operations import CommandError

ORDER = [
    "RetryFilter", "AvailabilityZoneFilter", "RamFilter", "DiskFilter", "ComputeFilter", "ComputeCapabilitiesFilter",
    "ImagePropertiesFilter", "ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter", "SameHostFilter",
    "DifferentHostFilter",
]  # fmt: skip


def host(name: str = "h1", **changes: Any) -> HostState:
    state = HostState(
        name=name, provider_id=f"rp-{name}", zone="nova", up=True, disabled=False,
        rooms={
            "VCPU": Room(total=4, limit=16, used=0, max_unit=4),
            "MEMORY_MB": Room(total=4096, limit=4096, used=0, max_unit=4096),
            "DISK_GB": Room(total=100, limit=100, used=0, max_unit=100),
        },
        traits=frozenset({"HW_CPU_X86_AVX"}), hypervisor_type="QEMU", cpu_info={"arch": "x86_64"}, servers=set(),
        projects={}, building=0,
    )  # fmt: skip
    for key, value in changes.items():
        setattr(state, key, value)
    return state


def request(server_id: str = "s1", **changes: Any) -> Request:
    values: dict[str, Any] = {
        "server_id": server_id, "project_id": "p", "user_id": "u",
        "resources": {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}, "zone": None, "host": None, "hints": {},
        "extra_specs": {}, "image_properties": {},
    }  # fmt: skip
    return Request(**values | changes)


def test_filters_are_asked_in_the_documented_order() -> None:
    outcome = filters.run([host(), host("h2")], request())
    assert [name for name, _ in outcome.counts][: len(ORDER)] == ORDER
    assert {count for _, count in outcome.counts} == {2} and outcome.reasons == {}


@pytest.mark.parametrize(
    ("of_host", "of_request", "reason"),
    [
        ({}, {"excluded": ("h1",)}, "RetryFilter: building there was tried and failed"),
        ({"zone": "west"}, {"zone": "east"}, "AvailabilityZoneFilter: in zone west, not east"),
        ({}, {"resources": {"MEMORY_MB": 5000}}, "RamFilter: 5000 MiB wanted, 4096 of 4096 free"),
        ({}, {"resources": {"DISK_GB": 101}}, "DiskFilter: 101 GiB wanted, 100 of 100 free"),
        ({"rooms": {}}, {"resources": {"DISK_GB": 1}}, "DiskFilter: has no DISK_GB"),
        ({"up": False}, {}, "ComputeFilter: down"),
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
            {"servers": {("p", "b"), ("another", "a")}},
            {"hints": {"same_host": "a"}},
            "SameHostFilter: none of the servers named by same_host is here",
        ),
        (
            {"servers": {("p", "a")}},
            {"hints": {"different_host": ["a", "c"]}},
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
    outcome = filters.run([host(**of_host)], request(**of_request))
    assert (outcome.hosts, outcome.reasons) == ([], {"h1": reason})
    refused = Board([host(**of_host)]).choose(request(**of_request))
    assert isinstance(refused, CommandError) and refused.code == "no-valid-host"
    assert refused.message == f"No valid host was found. There are not enough hosts available: h1 ({reason})."


def test_a_foreign_server_is_none_to_be_near_to_or_away_from() -> None:
    """Who knew the id of another's server had his own put next to it, and was told which hosts it is not on."""
    hosts = [host("h1", servers={("p", "a")}), host("h2")]
    board = Board(hosts)
    assert isinstance(board.choose(request("s1", project_id="q", hints={"same_host": "a"})), CommandError)
    assert board.choose(request("s2", hints={"same_host": "a"}))["host"] == "h1"  # type: ignore[index]
    away: dict[str, Any] = {"project_id": "q", "hints": {"different_host": ["a"]}}
    chosen = [board.choose(request(f"s{number}", **away)) for number in range(3, 7)]
    assert {one["host"] for one in chosen} == {"h1", "h2"}  # type: ignore[index]


def test_a_full_host_is_not_over_committed_by_the_overhead_of_being_full() -> None:
    full = host(rooms={"MEMORY_MB": Room(total=100, limit=100, used=150, max_unit=100)})
    outcome = filters.run([full], request(resources={"MEMORY_MB": 1}))
    assert outcome.reasons["h1"] == "RamFilter: 1 MiB wanted, 0 of 100 free"


def test_servers_spread_over_equal_hosts() -> None:
    hosts = [host(f"h{n}") for n in range(4)]
    board = Board(hosts)
    chosen = [board.choose(request(f"s{n}"))["host"] for n in range(12)]  # type: ignore[index]
    assert {chosen.count(one.name) for one in hosts} == {3}


def test_the_emptier_host_is_better() -> None:
    used = host("used")
    used.take("other", "p", {"VCPU": 2, "MEMORY_MB": 2048, "DISK_GB": 50})
    assert Board([used, host("empty")]).choose(request())["host"] == "empty"  # type: ignore[index]


def test_many_hosts_are_not_all_named() -> None:
    refused = Board([host(f"h{n}", up=False) for n in range(25)]).choose(request())
    assert isinstance(refused, CommandError) and refused.message.endswith("; and 5 more.")


def test_no_hosts_at_all() -> None:
    refused = Board([]).choose(request())
    assert isinstance(refused, CommandError) and "no host is known" in refused.message


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


@given(st.lists(rooms, min_size=1, max_size=5), st.lists(sizes, max_size=30))
def test_a_pass_never_claims_more_than_the_limit(limits: list[dict[str, int]], wanted: list[dict[str, int]]) -> None:
    hosts = [
        host(f"h{n}", rooms={name: Room(total=size, limit=size, used=0, max_unit=size) for name, size in one.items()})
        for n, one in enumerate(limits)
    ]
    board, claimed = Board(hosts), {one.name: dict.fromkeys(one.rooms, 0) for one in hosts}
    for number, resources in enumerate(wanted):
        result = board.choose(request(f"s{number}", resources={k: v for k, v in resources.items() if v}))
        if isinstance(result, CommandError):
            left = [
                all(limit - claimed[f"h{n}"][name] >= resources[name] for name, limit in one.items())
                for n, one in enumerate(limits)
            ]
            assert not any(left), "a host with room was passed over"
            continue
        for name, amount in resources.items():
            claimed[result["host"]][name] += amount
    for n, one in enumerate(limits):
        for name, limit in one.items():
            assert claimed[f"h{n}"][name] <= limit
            assert hosts[n].rooms[name].used == claimed[f"h{n}"][name]


# --- server groups ------------------------------------------------------------------------------------------------


def chosen(board: Board, requests: list[Request]) -> list[str | None]:
    """The hosts of a batch, None where there was none."""
    results = [board.choose(one) for one in requests]
    return [None if isinstance(one, CommandError) else one["host"] for one in results]


def batch(group: Group, count: int, **changes: Any) -> list[Request]:
    return [request(f"{group.id}-{n}", group=group, **changes) for n in range(count)]


def test_a_batch_under_anti_affinity_has_a_host_for_each() -> None:
    board = Board([host(f"h{n}") for n in range(10)])
    placed = chosen(board, batch(Group("g", ANTI_AFFINITY, hosts={"h3": 1}), 10))
    assert set(placed[:9]) == {f"h{n}" for n in range(10)} - {"h3"} and placed[9] is None


def test_groups_of_equal_servers_take_turns_and_share_a_filtering(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(filters, "run", lambda *given, run=filters.run: asked.append("run") or run(*given))
    board, known = Board([host(f"h{n}") for n in range(4)]), [Group(f"g{n}", ANTI_AFFINITY) for n in range(3)]
    wanted = [request(f"s{n}", group=known[n % 3], hints={"group": known[n % 3].id}) for n in range(12)]
    placed = chosen(board, wanted)
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
    hosts = [
        host("down", up=False),
        *(host(f"h{n}") for n in range(5)),
        host("small", rooms={"VCPU": Room(1, 0, 0, 1)}),
    ]
    wanted = request(group=group, resources={"VCPU": 1})
    counted = filters.run(hosts, wanted.alone()).counted(group)
    assert counted == filters.run(hosts, wanted).counts and counted[-1][1] == 5 - lost


def test_a_batch_under_affinity_is_on_one_host() -> None:
    board, group = Board([host(f"h{n}") for n in range(10)]), Group("g", AFFINITY)
    placed = chosen(board, batch(group, 9, resources={"MEMORY_MB": 512}))
    assert len(set(placed[:8])) == 1 and placed[8] is None
    unlike = request("other", group=group, resources={"VCPU": 1})
    assert chosen(board, [unlike]) == placed[:1], "where its group is, though it is another size"


def test_a_batch_with_a_greatest_number_a_host() -> None:
    placed = chosen(Board([host(f"h{n}") for n in range(3)]), batch(Group("g", ANTI_AFFINITY, 2), 7))
    assert sorted(map(placed.count, {"h0", "h1", "h2"})) == [2, 2, 2] and placed[6] is None


def test_soft_affinity_outweighs_what_is_free() -> None:
    full = host("full")
    full.take("other", "p", {"VCPU": 8, "MEMORY_MB": 2048, "DISK_GB": 50})
    board, group = Board([full, host("h1"), host("h2")]), Group("g", SOFT_AFFINITY, hosts={"full": 1})
    placed = chosen(board, batch(group, 6, resources={"MEMORY_MB": 1024}))
    assert placed[:2] == ["full", "full"] and len(set(placed[2:])) == 1


def test_soft_affinity_follows_what_unlike_servers_of_the_group_did() -> None:
    """To have one more of the group makes a host better, also for requests that were ranked before."""
    big, small = {"MEMORY_MB": 1024}, {"MEMORY_MB": 64}
    tight = host("tight", rooms={"MEMORY_MB": Room(total=512, limit=512, used=0, max_unit=512)})
    board, group = Board([tight, host("h1"), host("h2")]), Group("g", SOFT_AFFINITY, hosts={"tight": 1})
    assert chosen(board, batch(group, 1, resources=small)) == ["tight"]
    (other,) = set(chosen(board, batch(group, 3, resources=big)))
    assert chosen(board, batch(group, 1, resources=small)) == [other] != ["tight"]


def test_soft_anti_affinity_goes_where_fewest_are() -> None:
    board, group = Board([host("h0"), host("h1")]), Group("g", SOFT_ANTI_AFFINITY, hosts={"h0": 3})
    assert chosen(board, batch(group, 5)).count("h1") == 4


groups = st.lists(st.tuples(st.sampled_from([*HARD, *SOFT]), st.integers(1, 3)), min_size=1, max_size=3)
joining = st.lists(st.tuples(st.integers(0, 3), sizes), max_size=25)


@given(st.lists(rooms, min_size=1, max_size=5), groups, joining)
def test_a_pass_never_breaks_a_hard_policy(
    limits: list[dict[str, int]], policies: list[tuple[str, int]], wanted: list[tuple[int, dict[str, int]]]
) -> None:
    hosts = [
        host(f"h{n}", rooms={name: Room(total=size, limit=size, used=0, max_unit=size) for name, size in one.items()})
        for n, one in enumerate(limits)
    ]
    known = [Group(f"g{n}", policy, most) for n, (policy, most) in enumerate(policies)]
    board, placed = Board(hosts), {group.id: list[str]() for group in known}
    for number, (which, resources) in enumerate(wanted):
        group = known[which] if which < len(known) else None
        resources = {name: amount for name, amount in resources.items() if amount}
        before = [one for one in hosts if not filters.taken(one, request(resources=resources, group=group))]
        preferences = {one.name: group.preference(one.name) if group else 0 for one in before}
        result = board.choose(request(f"s{number}", resources=resources, group=group))
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
