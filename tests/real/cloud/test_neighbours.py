"""Two clouds on one machine, each in a network namespace of its own."""

from __future__ import annotations

from tests.real.cloud.real import RealCloud
from tests.real.ovn_world import inside, namespace


def test_a_second_cloud_beside_the_first(cloud: RealCloud) -> None:
    first = cloud.boot("first")
    with namespace() as name, inside(name):
        other = RealCloud(name)
        try:
            other.up()
            other.prepare()
            second = other.boot("second")
            other.settled(second)
            other.says(second, f"tiny: instance-id {second} .* source metadata-service")
            other.assert_holds_exactly(second)
            other.down()
            assert not other.processes()
        finally:
            other.remove()
    cloud.settled(first)
    cloud.says(first, f"tiny: instance-id {first} .* source metadata-service")
    cloud.assert_holds_exactly(first)
    cloud.delete(first)
    cloud.assert_nothing_left()
