"""Makes a shared network with a subnet, in the cloud that OS_* names: `shared_network.py NAME`."""

from __future__ import annotations

import sys

import openstack


def main(name: str) -> None:
    cloud = openstack.connect()
    network = cloud.network.create_network(name=name, is_shared=True)
    cloud.network.create_subnet(network_id=network.id, name=name, ip_version=4, cidr="10.99.0.0/16")


if __name__ == "__main__":
    main(sys.argv[1])
