"""A user of the compute API who sends raw requests, so that a test says which microversion it means."""

from __future__ import annotations

import uuid
from typing import Any

from tests.client import Client, by_http, login
from tests.support import CloudUnderTest, eventually

NANO = "42"
NEWEST = "2.104"


class User(Client):
    """Somebody's requests to compute, unless their paths begin with another service's name.

    Args:
        root: the cloud's URL.
        token: for every request; None for nobody.
    """

    def __init__(self, root: str, token: str | None, project_id: str = "", user_id: str = "") -> None:
        super().__init__(by_http(root), "/compute/v2.1", token)
        self.root, self.project_id, self.user_id = root, project_id, user_id

    @classmethod
    def login(cls, cloud: CloudUnderTest, name: str, password: str, project: str) -> User:
        root = f"http://127.0.0.1:{cloud.port}"
        answer = by_http(root)("POST", "/identity/v3/auth/tokens", json=login(name, password, project))
        assert answer.status_code == 201, answer.text
        token = answer.json()["token"]
        return cls(root, answer.headers["X-Subject-Token"], token["project"]["id"], token["user"]["id"])

    def get(self, path: str, version: str | None = None) -> Any:
        """The body of a successful GET."""
        answer = self("GET", path, version=version)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def request_server(self, version: str | None = None, hints: dict[str, Any] | None = None, **values: Any) -> Any:
        """POST /servers with what every server needs, changed by `values`; a value of ... leaves the key out."""
        body = {"name": f"s-{uuid.uuid4().hex[:8]}", "flavorRef": NANO} | values
        body = {key: value for key, value in body.items() if value is not ...}
        return self("POST", "/servers", {"server": body} | ({"os:scheduler_hints": hints} if hints else {}), version)

    def accept(self, version: str | None = None, **values: Any) -> str:
        """The id of a server that was accepted."""
        answer = self.request_server(version, **values)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["server"]["id"])

    def boot(self, version: str | None = None, **values: Any) -> str:
        """The id of a server that has become ACTIVE."""
        server_id = self.accept(version, **values)
        assert self.settled(server_id)["status"] == "ACTIVE"
        return server_id

    def server(self, server_id: str, version: str = NEWEST) -> dict[str, Any]:
        found: dict[str, Any] = self.get(f"/servers/{server_id}", version)["server"]
        return found

    def settled(self, server_id: str, version: str = NEWEST) -> dict[str, Any]:
        """The server once nothing is under way on it."""

        def look() -> Any:
            server = self.server(server_id, version)
            return None if server["OS-EXT-STS:task_state"] or server["status"] == "BUILD" else server

        found: dict[str, Any] = eventually(look, 60, f"the end of what is under way on {server_id}")
        return found

    def act(self, server_id: str, action: str, argument: Any = None, version: str | None = None) -> Any:
        return self("POST", f"/servers/{server_id}/action", {action: argument}, version)

    def delete(self, server_id: str) -> None:
        assert self("DELETE", f"/servers/{server_id}").status_code == 204
        self.gone(server_id)

    def gone(self, server_id: str) -> None:
        eventually(lambda: self("GET", f"/servers/{server_id}").status_code == 404, 60, f"the end of {server_id}")

    def clear(self) -> None:
        """Delete every server of the project."""
        for server in self.get("/servers")["servers"]:
            self("DELETE", f"/servers/{server['id']}")
        eventually(lambda: not self.get("/servers")["servers"], 60, "the end of every server")
