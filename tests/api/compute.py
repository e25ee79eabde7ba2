"""A user of the compute API who sends raw requests, so that a test says which microversion it means."""

from __future__ import annotations

import uuid
from typing import Any

import requests

from tests.support import CloudUnderTest, eventually

NANO = "42"
NEWEST = "2.104"


class User:
    """Somebody with a token. Paths are those under /compute/v2.1 unless they begin with another service's name.

    Args:
        root: the cloud's URL.
        token: for every request; None for nobody.
    """

    def __init__(self, root: str, token: str | None, project_id: str = "", user_id: str = "") -> None:
        self.root, self.token, self.project_id, self.user_id = root, token, project_id, user_id

    @classmethod
    def login(cls, cloud: CloudUnderTest, name: str, password: str, project: str) -> User:
        root = f"http://127.0.0.1:{cloud.port}"
        answer = requests.post(f"{root}/identity/v3/auth/tokens", json=credentials(name, password, project), timeout=60)
        assert answer.status_code == 201, answer.text
        token = answer.json()["token"]
        return cls(root, answer.headers["X-Subject-Token"], token["project"]["id"], token["user"]["id"])

    def __call__(self, method: str, path: str, body: Any = None, version: str | None = None, **options: Any) -> Any:
        """One request; `version` is the microversion that its header asks for."""
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["X-Auth-Token"] = self.token
        if version:
            headers["OpenStack-API-Version"] = f"compute {version}"
        if body is not None:
            options["json"] = body
        known = path.startswith(("/identity", "/image", "/network", "/placement", "/compute"))
        url = f"{self.root}{path}" if known else f"{self.root}/compute/v2.1{path}"
        return requests.request(method, url, headers=headers, timeout=120, **options)

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


def credentials(name: str, password: str, project: str) -> dict[str, Any]:
    """The body of POST /v3/auth/tokens."""
    domain = {"id": "default"}
    return {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": name, "domain": domain, "password": password}},
            },
            "scope": {"project": {"name": project, "domain": domain}},
        }
    }
