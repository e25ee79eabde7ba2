"""Placement, by openstacksdk and by osc-placement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openstack.connection import Connection

from tests.support import CloudUnderTest

OpenStack = Callable[..., Any]


def by_version(version: str) -> tuple[str, ...]:
    return ("--os-placement-api-version", version)


@pytest.fixture(scope="session")
def openstack(cloud: CloudUnderTest) -> OpenStack:
    """The real command line client; its answer parsed unless told otherwise."""

    def run(*arguments: str, parse: bool = True, **options: Any) -> Any:
        return cloud.openstack(*arguments, parse=parse, **options)

    return run


@pytest.fixture(scope="module")
def provider(admin: Connection) -> Any:
    return next(iter(admin.placement.resource_providers()))


def test_hypervisors_are_providers(admin: Connection) -> None:
    providers = {one.name: one.id for one in admin.placement.resource_providers()}
    assert providers == {one.name: one.id for one in admin.compute.hypervisors()}


def test_inventories_and_traits(admin: Connection, provider: Any) -> None:
    stock = {one.resource_class: one for one in admin.placement.resource_provider_inventories(provider)}
    assert {"VCPU", "MEMORY_MB", "DISK_GB"} <= stock.keys()
    assert stock["VCPU"].total > 0 and stock["VCPU"].allocation_ratio >= 1
    assert "VCPU" in {one.name for one in admin.placement.resource_classes()}
    assert "HW_CPU_X86_VMX" in {one.name for one in admin.placement.traits()}


@pytest.mark.parametrize("version", ["1.6", "1.14", "1.39"])
def test_provider_commands(openstack: OpenStack, provider: Any, version: str) -> None:
    chosen = by_version(version)
    assert provider.id in {one["uuid"] for one in openstack(*chosen, "resource", "provider", "list")}
    assert openstack(*chosen, "resource", "provider", "show", provider.id)["name"] == provider.name
    rows = openstack(*chosen, "resource", "provider", "inventory", "list", provider.id)
    stock = {one["resource_class"] for one in rows}
    used = openstack(*chosen, "resource", "provider", "usage", "show", provider.id)
    assert {one["resource_class"] for one in used} == stock >= {"VCPU", "MEMORY_MB", "DISK_GB"}
    openstack(*chosen, "resource", "provider", "trait", "list", provider.id)
    assert openstack(*chosen, "resource", "provider", "aggregate", "list", provider.id) in ([], "\n")
    openstack(*chosen, "resource", "class", "show", "VCPU")


@pytest.mark.parametrize("version", ["1.10", "1.12", "1.39"])
def test_candidates(openstack: OpenStack, provider: Any, version: str) -> None:
    wanted = ("--resource", "VCPU=1", "--resource", "MEMORY_MB=64")
    rows = openstack(*by_version(version), "allocation", "candidate", "list", *wanted)
    assert provider.id in {row["resource provider"] for row in rows}


def test_usage_of_the_own_project(demo: Connection, openstack: OpenStack) -> None:
    openstack(*by_version("1.9"), "resource", "usage", "show", demo.current_project_id, project="demo")


def test_providers_are_for_administrators(openstack: OpenStack) -> None:
    refused = openstack("resource", "provider", "list", project="demo", parse=False, check=False)
    assert "placement:resource_providers:list" in refused
