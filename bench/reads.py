"""What reading requests cost the application: processor time and SQL statements, in one process, without HTTP.

    python bench/reads.py [ROWS]

Asks a cloud on SQLite with ROWS (100) servers on a network, each with a port, and prints JSON: by request, the median of
the processor time in milliseconds and the number of statements. What the HTTP edge takes comes on top (0.4 ms).
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
import wsgiref.util
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import event
from tests.unit.nouns import Nouns

from pileus.compute.model import Server
from pileus.compute.snapshots import FlavorSnapshot, ImageSnapshot
from pileus.db import new_id, utcnow
from pileus.image.model import Image
from pileus.network.model import FixedIP, Port, PortSecurityGroup

WARM, MEASURED = 30, 200


class World:
    """The cloud, and whoever asks it: a member of project demo."""

    def __init__(self, rows: int) -> None:
        self.nouns = Nouns(Path(tempfile.mkdtemp()))
        serving = self.nouns.serving
        self.db, self.application = serving.db, serving.cloud.application()
        demo = serving.user("demo", "/network/v2.0")
        self.token, self.project = demo.token, self.nouns.project_id("demo")
        network = demo.ok("POST", "/networks", {"network": {"name": "n"}})["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}
        self.subnet = demo.ok("POST", "/subnets", {"subnet": subnet})["subnet"]["id"]
        self.group = demo.ok("GET", "/security-groups")["security_groups"][0]["id"]
        with self.db.write() as session:
            session.add(Image(id=new_id(), name="i", status="active", visibility="public", size=1000))
            session.flush()
            for number in range(rows):
                self.server = self._server(session, number, network)

    def _server(self, session: Any, number: int, network: str) -> str:
        server_id, port_id, now = new_id(), new_id(), utcnow()
        names = {"name": f"s{number}", "hostname": f"s{number}", "image_id": new_id(), "key_name": "k"}
        owner = {"project_id": self.project, "user_id": "u", "reservation_id": "r-1"}
        flavor = FlavorSnapshot(vcpus=1, ram=192, disk=1, original_name="m1.nano")
        state = {"vm_state": "active", "power_state": 1, "host": "up", "networks": [], "security_groups": []}
        row = Server(id=server_id, number=number, flavor=flavor, image=ImageSnapshot(), **names, **owner, **state)
        row.created_at = row.updated_at = row.launched_at = now
        session.add(row)
        mac, address = (
            f"fa:16:3e:00:{number // 256:02x}:{number % 256:02x}",
            f"10.0.{1 + number // 200}.{number % 200 + 1}",
        )
        port = Port(id=port_id, project_id=self.project, network_id=network, mac_address=mac, server_id=server_id)
        port.device_id, port.device_owner, port.host, port.status = server_id, "compute:nova", "up", "ACTIVE"
        port.fixed_ips = [FixedIP(subnet_id=self.subnet, ip_address=address, port_id=port_id)]
        port.group_links = [PortSecurityGroup(port_id=port_id, security_group_id=self.group)]
        session.add(port)
        session.flush()
        return server_id

    def ask(self, path: str) -> bytes:
        """The body of an answer."""
        said: list[str] = []
        request: dict[str, Any] = {}
        wsgiref.util.setup_testing_defaults(request)
        path, _, query = path.partition("?")
        request |= {"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": query, "wsgi.input": io.BytesIO()}
        request |= {"HTTP_X_AUTH_TOKEN": self.token, "HTTP_X_SUBJECT_TOKEN": self.token}
        request["HTTP_OPENSTACK_API_VERSION"] = "compute 2.104"
        body = b"".join(self.application(request, lambda status, _headers, _error=None: said.append(status)))
        assert said[0].startswith("200"), (said, body)
        return body

    def cost(self, path: str) -> dict[str, float]:
        """Milliseconds of processor time and statements of a request."""
        seen: list[str] = []

        def note(*given: Any) -> None:
            seen.append(given[2])

        for _ in range(WARM):
            self.ask(path)
        event.listen(self.db.engine, "before_cursor_execute", note)
        self.ask(path)
        event.remove(self.db.engine, "before_cursor_execute", note)
        statements, took = len([one for one in seen if one != "BEGIN"]), []
        for _ in range(MEASURED):
            began = time.process_time()
            self.ask(path)
            took.append(time.process_time() - began)
        return {"ms": round(statistics.median(took) * 1000, 3), "statements": statements}


def main(rows: int) -> None:
    """Print what each request costs."""
    world = World(rows)
    network, compute = "/network/v2.0", "/compute/v2.1"
    asked = {
        "GET server": f"{compute}/servers/{world.server}", "servers/detail": f"{compute}/servers/detail",
        "servers": f"{compute}/servers", "flavors/detail": f"{compute}/flavors/detail", "flavors": f"{compute}/flavors",
        "images": "/image/v2/images", "networks": f"{network}/networks", "subnets": f"{network}/subnets",
        "ports": f"{network}/ports", "one port": f"{network}/ports?device_id={world.server}",
        "security groups": f"{network}/security-groups", "token check": "/identity/v3/auth/tokens",
    }  # fmt: skip
    print(json.dumps({"rows": rows} | {name: world.cost(path) for name, path in asked.items()}, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100)
