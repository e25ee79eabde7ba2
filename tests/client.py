"""Somebody's requests to a cloud: to the application in this process, or by HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import requests

SERVICES = {"identity", "compute", "placement", "image", "network"}


class Client:
    """Somebody who may have a token: `client("GET", "/servers", version="2.37")` is one request.

    Args:
        send: takes method, path, headers and what else is given; its answers are falcon.testing's or those of requests.
        prefix: what paths are under, unless they begin with a service's name.
        service: whose microversion is asked for; `newest` where a request names none.
    """

    def __init__(
        self, send: Callable[..., Any], prefix: str, token: str | None, service: str = "compute", newest: str = ""
    ) -> None:
        self.send, self.prefix, self.token, self.service, self.newest = send, prefix, token, service, newest

    def __call__(self, method: str, path: str, json: Any = None, version: str | None = None, **options: Any) -> Any:
        headers = dict(options.pop("headers", {}))
        if self.token:
            headers["X-Auth-Token"] = self.token
        if version or self.newest:
            headers["OpenStack-API-Version"] = f"{self.service} {version or self.newest}"
        if json is not None:
            options["json"] = json
        whole = path.split("/")[1:2] and path.split("/")[1] in SERVICES
        return self.send(method, path if whole else self.prefix + path, headers=headers, **options)

    def ok(self, method: str, path: str, json: Any = None, version: str | None = None, **options: Any) -> Any:
        """The body of a successful answer, None if it has none."""
        answer = self(method, path, json, version, **options)
        assert answer.status_code < 300, answer.text
        if not answer.text:
            return None
        return answer.json() if callable(answer.json) else answer.json

    def under(self, prefix: str) -> Self:
        """The same user's requests elsewhere."""
        return type(self)(self.send, prefix, self.token)


def by_http(root: str) -> Callable[..., requests.Response]:
    """Sends to the cloud whose URL is `root`."""
    return lambda method, path, **options: requests.request(method, root + path, timeout=120, **options)


def login(name: str, password: str, scope: Any = None) -> dict[str, Any]:
    """The body of POST /v3/auth/tokens; the scope is a project's name, by default the user's own."""
    domain = {"id": "default"}
    if scope is None or isinstance(scope, str):
        scope = {"project": {"name": scope or name, "domain": domain}}
    identity = {"methods": ["password"], "password": {"user": {"name": name, "domain": domain, "password": password}}}
    return {"auth": {"identity": identity, "scope": scope}}
