"""What reading requests cost the application: processor time and SQL statements, in one process, without HTTP.

    python bench/reads.py [ROWS]

Asks a cloud on SQLite with ROWS (100) servers on a network, each with a port, and prints JSON: by request, the median of
the processor time in milliseconds and the number of statements. What the HTTP edge takes comes on top (0.4 ms).
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from falcon.testing import create_environ
from sqlalchemy import event
from tests.unit.nouns import Nouns

from pileus.compute.model import Server
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot
from pileus.db import new_id, utcnow
from pileus.image.model import Image
from pileus.network.model import FixedIP, Port, PortSecurityGroup

WARM, MEASURED, COMPUTE, NETWORK = 30, 200, "/compute/v2.1", "/network/v2.0"
ASKED = {
    "GET server": f"{COMPUTE}/servers/SERVER", "servers/detail": f"{COMPUTE}/servers/detail",
    "servers": f"{COMPUTE}/servers", "flavors/detail": f"{COMPUTE}/flavors/detail", "flavors": f"{COMPUTE}/flavors",
    "images": "/image/v2/images", "networks": f"{NETWORK}/networks", "subnets": f"{NETWORK}/subnets",
    "ports": f"{NETWORK}/ports", "one port": f"{NETWORK}/ports?device_id=SERVER",
    "security groups": f"{NETWORK}/security-groups", "token check": "/identity/v3/auth/tokens",
}  # fmt: skip


class World:
    """The cloud, and whoever asks it: a member of project demo."""

    def __init__(self, rows: int) -> None:
        nouns = Nouns(Path(tempfile.mkdtemp()))
        self.db, self.application = nouns.serving.db, nouns.serving.cloud.application()
        demo = nouns.serving.user("demo", NETWORK)
        self.token, self.project = demo.token, nouns.project_id("demo")
        self.network = demo.ok("POST", "/networks", {"network": {"name": "n"}})["network"]["id"]
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.0.0.0/16"}
        self.subnet = demo.ok("POST", "/subnets", {"subnet": subnet})["subnet"]["id"]
        self.group = demo.ok("GET", "/security-groups")["security_groups"][0]["id"]
        with self.db.write() as session:
            session.add(Image(id=new_id(), name="i", status="active", visibility="public", size=1000))
            for number in range(rows):
                self.server = self._server(session, number)

    def _server(self, session: Any, number: int) -> str:
        server, port, now, (high, low) = new_id(), new_id(), utcnow(), divmod(number, 200)
        session.add(Server(
            id=server, number=number, name="s", hostname="s", project_id=self.project, user_id="u", reservation_id="r",
            vm_state="active", power_state=1, host="up", image_id=new_id(), image=ImageSnapshot(), key_name="k",
            flavor=FlavorSnapshot(vcpus=1, ram=192, disk=1), networks=[], security_groups=[], created_at=now,
            updated_at=now, launched_at=now,
        ))  # fmt: skip
        session.add(Port(
            id=port, project_id=self.project, network_id=self.network, mac_address=f"fa:16:3e:00:{high:02x}:{low:02x}",
            server_id=server, device_id=server, device_owner="compute:nova", host="up", status="ACTIVE",
            fixed_ips=[FixedIP(subnet_id=self.subnet, ip_address=f"10.0.{high + 1}.{low + 1}", port_id=port)],
            group_links=[PortSecurityGroup(port_id=port, security_group_id=self.group)],
        ))  # fmt: skip
        return server

    def cost(self, target: str) -> dict[str, float]:
        """Milliseconds of processor time and statements of a request, which must succeed."""
        path, _, query = target.replace("SERVER", self.server).partition("?")
        headers = {"X-Auth-Token": self.token, "X-Subject-Token": self.token, "OpenStack-API-Version": "compute 2.104"}
        request = create_environ(path, query, headers=headers)
        said, seen, took = set[str](), [], []
        note = lambda *given: seen.append(given)  # noqa: E731

        def ask() -> None:
            b"".join(self.application(dict(request), lambda status, *_: said.add(status[:3])))

        for _ in range(WARM):
            ask()
        event.listen(self.db.engine, "before_cursor_execute", note)
        ask()
        event.remove(self.db.engine, "before_cursor_execute", note)
        for _ in range(MEASURED):
            took.append(time.process_time())
            ask()
        assert said == {"200"}, (target, said)
        each = [after - before for before, after in pairwise(took)]
        return {"ms": round(statistics.median(each) * 1000, 3), "statements": len(seen)}


if __name__ == "__main__":
    world = World(int((sys.argv[1:] or ["100"])[0]))
    print(json.dumps({name: world.cost(target) for name, target in ASKED.items()}, indent=1))
