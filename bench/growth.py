"""What a cloud that has grown costs: 25,000 servers, as many ports, a million rows of the journal, all one project's.

    python bench/growth.py [SERVERS [STEPS]]

Fills a cloud on SQLite in a temporary folder and prints JSON: by request the median and the 99th percentile of the
processor time in milliseconds, in one process and without HTTP; how long a chunk of the purge has the lock; how long a
process that answers requests takes to start, and its memory.
"""

from __future__ import annotations

import gc
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import wsgiref.util
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import insert
from tests.unit.nouns import Nouns

from pileus.cloud import purge
from pileus.compute.model import Server
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot
from pileus.db import new_id, utcnow
from pileus.image.model import Image
from pileus.network.model import FixedIP, Port, PortSecurityGroup
from pileus.operations import views
from pileus.operations.model import OperationRow, StepRow

AT_ONCE = 5000
WARM, MEASURED = 10, 100
STEPS_EACH = 10
START = """
import resource, sys, time
began = time.perf_counter()
from pileus.cloud import Cloud
from pileus.db import Database
from pileus.settings import Settings
settings = Settings(state=sys.argv[1])
cloud = Cloud(settings, Database(settings.database_url))
cloud.application()
cloud.runner.begin()
cloud.runner.take_up()
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


class World:
    """The cloud, and a member of project demo, who is asked for by default, and an administrator."""

    def __init__(self, servers: int, steps: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.nouns = Nouns(self.folder)
        serving = self.nouns.serving
        self.db, self.application = serving.db, serving.cloud.application()
        demo, admin = serving.user("demo", ""), serving.user("admin", "")
        self.tokens = {"demo": demo.token, "admin": admin.token}
        self.project, self.image = self.nouns.project_id("demo"), new_id()
        for path, name, limits in (
            ("/network/v2.0/quotas", "quota", ("port",)),
            ("/compute/v2.1/os-quota-sets", "quota_set", ("instances", "cores", "ram")),
        ):
            admin.ok("PUT", f"{path}/{self.project}", {name: dict.fromkeys(limits, 10**9)})
        self.network = demo.ok("POST", "/network/v2.0/networks", {"network": {"name": "n"}})["network"]["id"]
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.0.0.0/12"}
        self.subnet = demo.ok("POST", "/network/v2.0/subnets", {"subnet": subnet})["subnet"]["id"]
        self.group = demo.ok("GET", "/network/v2.0/security-groups")["security_groups"][0]["id"]
        self.servers, self.ports = ([new_id() for _ in range(servers)] for _ in range(2))
        began = time.perf_counter()
        with self.db.write() as session:
            session.add(Image(id=self.image, name="i", status="active", visibility="public", size=1000))
            for model, rows in (
                (Server, self._servers()), (Port, self._ports()), (FixedIP, self._addresses()),
                (PortSecurityGroup, ({"port_id": id, "security_group_id": self.group} for id in self.ports)),
                *self._journal(steps // STEPS_EACH),
            ):  # fmt: skip
                some: list[Any] = []
                for row in rows:
                    some.append(row)
                    if len(some) == AT_ONCE:
                        session.execute(insert(model), some)
                        some = []
                if some:
                    session.execute(insert(model), some)
        self.filled_s = time.perf_counter() - began
        gc.collect()
        gc.freeze()  # what is only this program's

    def _servers(self) -> Iterator[dict[str, Any]]:
        began = utcnow() - timedelta(days=20)
        flavor = FlavorSnapshot(vcpus=1, ram=192, disk=1, original_name="m1.nano")
        for number, server_id in enumerate(self.servers, 1):
            at = began + timedelta(seconds=number)
            yield {
                "id": server_id, "number": number, "name": f"s{number}", "hostname": f"s{number}",
                "project_id": self.project, "user_id": "u", "reservation_id": f"r-{number}", "vm_state": "active",
                "power_state": 1, "host": "up", "image_id": self.image, "image": ImageSnapshot(), "flavor": flavor,
                "networks": [], "security_groups": [], "created_at": at, "updated_at": at, "launched_at": at,
            }  # fmt: skip

    def _ports(self) -> Iterator[dict[str, Any]]:
        began = utcnow() - timedelta(days=20)
        for number, (port_id, server_id) in enumerate(zip(self.ports, self.servers, strict=True)):
            at = began + timedelta(seconds=number)
            yield {
                "id": port_id, "project_id": self.project, "network_id": self.network, "server_id": server_id,
                "mac_address": f"fa:16:3f:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
                "device_id": server_id, "device_owner": "compute:nova", "host": "up", "status": "ACTIVE",
                "created_at": at, "updated_at": at,
            }  # fmt: skip

    def _addresses(self) -> Iterator[dict[str, Any]]:
        for number, port_id in enumerate(self.ports, 16):
            ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            yield {"subnet_id": self.subnet, "ip_address": ip, "port_id": port_id, "offset": number}

    def _journal(self, count: int) -> Iterator[tuple[Any, Iterator[dict[str, Any]]]]:
        """Operations that ended long ago, with their steps."""
        ids = [new_id() for _ in range(count)]
        at = utcnow() - timedelta(days=10)
        yield OperationRow, (
            {
                "id": id, "request_id": f"req-{id}", "kind": "server.boot", "project_id": self.project, "user_id": "u",
                "subject_id": self.servers[number % len(self.servers)], "arguments": {"server_id": id},
                "state": "succeeded", "attempt": 1, "forward": False, "created_at": at, "finished_at": at,
            }
            for number, id in enumerate(ids)
        )  # fmt: skip
        events = [{"name": "fetch", "started": 1.0, "finished": 2.0, "outcome": "finished", "detail": {}}] * 3
        yield StepRow, (
            {
                "operation_id": id, "position": position, "undo": False, "name": "build guest", "key": "build guest",
                "outcome": "finished", "attempt": 1, "started_at": at, "finished_at": at, "events": events,
            }
            for id in ids
            for position in range(STEPS_EACH)
        )  # fmt: skip

    def ask(self, method: str, path: str, body: object = None, who: str = "demo") -> bytes:
        """The body of an answer."""
        said: list[str] = []
        request: dict[str, Any] = {}
        wsgiref.util.setup_testing_defaults(request)
        path, _, query = path.partition("?")
        sent = json.dumps(body).encode() if body else b""
        request |= {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO(sent)}
        request |= {"HTTP_X_AUTH_TOKEN": self.tokens[who], "CONTENT_LENGTH": str(len(sent))}
        request["HTTP_OPENSTACK_API_VERSION"] = "compute 2.104"
        answer = b"".join(self.application(request, lambda status, _headers, _error=None: said.append(status)))
        assert said[0].startswith("20"), (said, answer)
        return answer


def measured(call: Callable[[], object], times: int = MEASURED) -> dict[str, float]:
    """Milliseconds of processor time of a call."""
    for _ in range(min(WARM, times - 1)):
        call()
    took = []
    for _ in range(times):
        began = time.process_time()
        call()
        took.append((time.process_time() - began) * 1000)
    return {"median": round(statistics.median(took), 2), "p99": round(statistics.quantiles(took, n=100)[98], 2)}


def requests(world: World) -> dict[str, dict[str, float]]:
    """What each request costs."""
    compute, network = "/compute/v2.1/servers", "/network/v2.0/ports"
    one, middle, last = (world.servers[len(world.servers) * part // 8] for part in (1, 4, 0))
    port = world.ports[len(world.ports) // 2]
    server = {"name": "s", "flavorRef": "42", "imageRef": world.image, "networks": [{"uuid": world.network}]}
    asked: dict[str, tuple[Any, ...]] = {
        "GET server": ("GET", f"{compute}/{one}"),
        "servers/detail of 100": ("GET", f"{compute}/detail?limit=100"),
        "servers/detail of 100, in the middle": ("GET", f"{compute}/detail?limit=100&marker={middle}"),
        "servers of 100, everybody's": ("GET", f"{compute}/detail?limit=100&all_tenants=1", None, "admin"),
        "servers of 100, everybody's, in the middle": (
            "GET", f"{compute}/detail?limit=100&all_tenants=1&marker={middle}", None, "admin"),
        "servers changed since": ("GET", f"{compute}/detail?changes-since={utcnow():%Y-%m-%dT%H:%M:%SZ}"),
        "servers behind the last": ("GET", f"{compute}?marker={last}"),
        "ports of 100": ("GET", f"{network}?limit=100"),
        "ports of 100, in the middle": ("GET", f"{network}?limit=100&marker={port}"),
        "ports of 100, everybody's": ("GET", f"{network}?limit=100&marker={port}", None, "admin"),
        "ports of a server": ("GET", f"{network}?device_id={one}"),
        "ports by MAC": ("GET", f"{network}?mac_address=fa:16:3f:00:10:01", None, "admin"),
        "actions of a server": ("GET", f"{compute}/{one}/os-instance-actions"),
        "POST port": ("POST", network, {"port": {"network_id": world.network}}),
        "POST server": ("POST", compute, {"server": server}),
        "limits": ("GET", "/compute/v2.1/limits"),
    }  # fmt: skip
    return {name: measured(lambda what=what: world.ask(*what)) for name, what in asked.items()}  # type: ignore[misc]


def chunk_of_the_purge(world: World) -> None:
    once = iter((False, True))
    assert purge(world.db, 3600.0, 3600.0, lambda: next(once))


def trace(world: World) -> None:
    with world.db.read() as session:
        for operation in views.of(session, world.servers[7]):
            views.stages(session, operation)


def crowd(world: World) -> None:
    """One request for 1,000 servers."""
    network = [{"uuid": world.network}]
    server = {"name": "s", "flavorRef": "42", "imageRef": world.image, "networks": network, "min_count": 1000}
    world.ask("POST", "/compute/v2.1/servers", {"server": server})


def main(servers: int = 25_000, steps: int = 1_000_000) -> None:
    """Print what each thing costs."""
    world = World(servers, steps)
    size = sum(path.stat().st_size for path in (world.folder / "db").iterdir())
    found = {"servers": servers, "journal rows": steps, "filled in s": round(world.filled_s, 1), "MiB": size >> 20}
    costs = requests(world) | {"trace": measured(lambda: trace(world))}
    costs["chunk of the purge"] = measured(lambda: chunk_of_the_purge(world), 5)
    code = [sys.executable, "-c", START, str(world.folder)]
    start_s, mib = map(float, subprocess.run(code, check=True, capture_output=True, text=True).stdout.split())
    costs["POST of 1,000 servers"] = measured(lambda: crowd(world), 3)  # last: they are begun, and never built
    print(json.dumps(found | {"ms": costs, "start s": round(start_s, 2), "memory MiB": round(mib)}, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
