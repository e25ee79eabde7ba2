"""kill -9 at real steps of boot and delete: the server is ACTIVE or gone in the end, and nothing is left over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cloud.real import GUEST_S, RealCloud
from tests.support import eventually


@pytest.fixture(scope="module")
def held(cloud: RealCloud) -> Iterator[Path]:
    """The file that appears when a process holds; afterwards the cloud runs as usual again."""
    folder = cloud.state / "hold"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder / "held"
    cloud.down("--keep-guests")
    cloud.up()


def _hold(cloud: RealCloud, held: Path, point: str) -> None:
    held.unlink(missing_ok=True)
    cloud.down("--keep-guests")
    cloud.up(PILEUS_HOLD_AT=point, PILEUS_HOLD_FILE=str(held))


def _kill(cloud: RealCloud, held: Path) -> None:
    eventually(held.exists, GUEST_S, "the hold point")
    cloud.kill()
    cloud.up()


@pytest.mark.parametrize("point", ["create disk:after", "define guest:before", "define guest:after", "running:before"])
def test_boot(cloud: RealCloud, held: Path, point: str) -> None:
    _hold(cloud, held, point)
    server = cloud.boot("held")
    _kill(cloud, held)
    cloud.settled(server)
    cloud.says(server, "tiny: eth0 ")
    cloud.assert_holds_exactly(server)
    cloud.delete(server)
    cloud.assert_nothing_left()


@pytest.mark.parametrize("point", ["destroy guest:before", "destroy guest:after"])
def test_delete(cloud: RealCloud, held: Path, point: str) -> None:
    _hold(cloud, held, point)
    server = cloud.boot("held")
    cloud.settled(server)
    cloud.demo.compute.delete_server(server)
    _kill(cloud, held)
    cloud.gone(server)
    cloud.assert_nothing_left()


@pytest.mark.parametrize("point", ["prepare network:after", "define guest:after"])
def test_delete_wins(cloud: RealCloud, held: Path, point: str) -> None:
    _hold(cloud, held, point)
    server = cloud.boot("held")
    eventually(held.exists, GUEST_S, "the hold point")
    cloud.demo.compute.delete_server(server)
    cloud.kill()
    cloud.up()
    cloud.gone(server)
    cloud.assert_nothing_left()
