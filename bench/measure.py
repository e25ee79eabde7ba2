"""Pileus's own figures: start to first token, idle memory, a batch of servers to ACTIVE; medians of several rounds.

    .venv/bin/python bench/measure.py [--servers 200] [--hosts 10] [--rounds 3] [--client PATH/bench.py]

With --client it goes on with the benchmark client of ../shared/bench against the same cloud. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openstack.connection import Connection

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import CloudUnderTest, eventually


def descendants(pid: int) -> list[int]:
    """A process and all that descend from it; none of one that has ended."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid] + [one for child in children for one in descendants(int(child))]


def memory(pid: int) -> dict[str, Any]:
    """Proportional set size of the cloud's processes, MiB."""
    sizes = []
    for one in descendants(pid):
        lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        sizes.append(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024)
    return {"pss_mib": round(sum(sizes), 1), "processes": len(sizes)}


def first_token(hosts: int) -> tuple[CloudUnderTest, float]:
    """A new cloud, and the seconds from `pileus up` to its first token."""
    cloud = CloudUnderTest(None, "--hypervisor", "fake", "--network", "fake", "--fake-hosts", str(hosts))
    began = time.perf_counter()
    cloud.up()
    cloud.connect("admin").authorize()
    return cloud, time.perf_counter() - began


def batch(cloud: CloudUnderTest, servers: int) -> dict[str, float]:
    """`servers` servers in one request: seconds until accepted, and until all are ACTIVE."""
    admin = cloud.connect("admin")
    unlimited(admin)
    asked = request(admin, servers)
    began = time.perf_counter()
    asked()
    accepted = time.perf_counter() - began
    all_active(cloud, 300)
    elapsed = time.perf_counter() - began
    for server in admin.compute.servers(details=False):
        admin.compute.delete_server(server.id)
    eventually(lambda: not cloud.query("SELECT 1 FROM servers WHERE deleted_at IS NULL LIMIT 1"), 300, "their end")
    return {"accepted_s": accepted, "active_s": elapsed, "servers_per_s": servers / elapsed}


def unlimited(admin: Connection) -> None:
    """Take the quotas of the administrator's project away."""
    project, limits = admin.current_project_id, {"instances": -1, "cores": -1, "ram": -1}
    admin.compute.put(f"/os-quota-sets/{project}", json={"quota_set": limits})
    admin.network.put(f"/quotas/{project}", json={"quota": {"port": -1}})


def request(admin: Connection, count: int) -> Callable[[], str]:
    """Asks for so many servers in one request whenever it is called; gives the id of the first one."""
    body = {
        "name": "bench",
        "imageRef": admin.image.find_image("bench-image").id,
        "flavorRef": "42",
        "networks": [{"uuid": admin.network.find_network("bench-net").id}],
        "min_count": count,
        "max_count": count,
    }

    def ask() -> str:
        answer = admin.compute.post("/servers", json={"server": body}, microversion="2.37")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    return ask


def all_active(cloud: CloudUnderTest, timeout_s: float) -> None:
    """Wait until nothing is being built."""
    left = "SELECT count(*) FROM servers WHERE vm_state = 'building' AND deleted_at IS NULL"
    eventually(lambda: int(cloud.query(left)[0][0]) == 0, timeout_s, "every server's ACTIVE")
    broken = cloud.query("SELECT count(*) FROM servers WHERE vm_state = 'error'")[0][0]
    assert not broken, f"{broken} servers in ERROR"


def furnish(cloud: CloudUnderTest) -> None:
    """The image and network that the benchmarks boot with."""
    admin = cloud.connect("admin")
    admin.image.create_image(
        name="bench-image",
        disk_format="raw",
        container_format="bare",
        visibility="public",
        data=bytes(1024 * 1024),
    )
    network = admin.network.create_network(name="bench-net", shared=True)
    admin.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.0.0.0/16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=200)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", help="path of the benchmark client")
    parser.add_argument("client_options", nargs="*", help="options for the client, after --")
    options = parser.parse_args()
    starts, result = [], {}
    for _ in range(options.rounds - 1):
        cloud, seconds = first_token(options.hosts)
        starts.append(seconds)
        cloud.remove()
    cloud, seconds = first_token(options.hosts)
    try:
        result["up_to_first_token_s"] = round(statistics.median([*starts, seconds]), 3)
        furnish(cloud)
        time.sleep(5)  # idle is what is measured
        result["idle"] = memory(cloud.pid)
        rounds = [batch(cloud, options.servers) for _ in range(options.rounds)]
        result["batch"] = {"servers": options.servers, "hosts": options.hosts} | {
            name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]
        }
        if options.client:
            result["client"] = client(cloud, options.client, options.client_options)
    finally:
        cloud.remove()
    print(json.dumps(result, indent=1))


def client(cloud: CloudUnderTest, path: str, arguments: list[str]) -> Any:
    """What the benchmark client prints."""
    with tempfile.TemporaryDirectory() as pids:
        (Path(pids) / "pileus.pid").write_text(str(cloud.pid))
        done = subprocess.run(
            [sys.executable, path, "--pid-dir", pids, *arguments],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **cloud.credentials("admin")},
        )
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
