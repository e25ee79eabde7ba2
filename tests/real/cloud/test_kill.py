"""kill -9 at real steps of boot and delete: the server is ACTIVE or gone in the end, and nothing is left over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.real.cloud.real import GUEST_S, RealCloud
from tests.support import eventually


def _kill_at(cloud: RealCloud, point: str, request: Callable[[], None]) -> None:
    with cloud.held_at(point) as [held]:
        request()
        eventually(lambda: held.taken, GUEST_S, "the hold point")
        cloud.kill()
    cloud.up()


@pytest.mark.parametrize("point", ["create disk:after", "define guest:before", "define guest:after", "running:before"])
def test_boot(cloud: RealCloud, point: str) -> None:
    booted: list[str] = []
    _kill_at(cloud, point, lambda: booted.append(cloud.boot("held")))
    [server] = booted
    cloud.settled(server)
    cloud.says(server, "tiny: eth0 ")
    cloud.assert_holds_exactly(server)
    cloud.delete(server)
    cloud.assert_nothing_left()


@pytest.mark.parametrize("point", ["destroy guest:before", "destroy guest:after"])
def test_delete(cloud: RealCloud, point: str) -> None:
    server = cloud.boot("held")
    cloud.settled(server)
    _kill_at(cloud, point, lambda: cloud.demo.compute.delete_server(server))
    cloud.gone(server)
    cloud.assert_nothing_left()


@pytest.mark.parametrize("point", ["prepare network:after", "define guest:after"])
def test_delete_wins(cloud: RealCloud, point: str) -> None:
    with cloud.held_at(point) as [held]:
        server = cloud.boot("held")
        eventually(lambda: held.taken, GUEST_S, "the hold point")
        cloud.demo.compute.delete_server(server)
        cloud.kill()
    cloud.up()
    cloud.gone(server)
    cloud.assert_nothing_left()
