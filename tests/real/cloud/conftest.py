"""One real cloud for this folder, in a network namespace of its own that pytest is in meanwhile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.cloud.real import IMAGE, RealCloud
from tests.real.ovn_world import inside, namespace

HERE = Path(__file__).parent
CAN_RUN = os.geteuid() == 0 and IMAGE.exists() and all(map(shutil.which, ("libvirtd", "ovn-controller")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not CAN_RUN:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="needs root, libvirt, OVN and the test image"))


@pytest.fixture(scope="package")
def cloud() -> Iterator[RealCloud]:
    with namespace() as name, inside(name):
        cloud = RealCloud(name)
        try:
            cloud.up()
            cloud.prepare()
            yield cloud
        finally:
            cloud.remove()
