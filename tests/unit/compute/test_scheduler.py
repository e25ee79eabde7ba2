"""The scheduler's pure parts: filters say why, weighers spread, no pass claims more than there is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pileus.compute.scheduler import filters
from pileus.compute.scheduler.filters import Request
from pileus.compute.scheduler.hoststate import HostState, Room
from pileus.compute.scheduler.place import Board
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
            {"servers": {"b"}},
            {"hints": {"same_host": "a"}},
            "SameHostFilter: none of the servers named by same_host is here",
        ),
        (
            {"servers": {"a"}},
            {"hints": {"different_host": ["a", "c"]}},
            "DifferentHostFilter: a server named by different_host is here",
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
