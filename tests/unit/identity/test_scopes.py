"""What tokens of each scope are good for: over all reading routes of all services, and in identity itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from pileus.api.routes import Route
from pileus.api.service import Service
from pileus.db import new_id
from tests.client import Client
from tests.unit.identity.conftest import ident
from tests.unit.serving import Serving

SCOPES = {"domain": {"domain": {"id": "default"}}, "system": {"system": {"all": True}}, "none": {"unscoped": {}}}

FOR_EVERYBODY = {
    *("/v2.1/extensions", "/v2/info/import", "/v2.0", "/v2.0/extensions", "/v3/regions", "/v3/auth/catalog"),
    *("/v3/auth/projects", "/v3/auth/domains", "/v3/auth/system"),  # his own
    *("/v2.0/networks", "/v2.0/subnets"),  # those that are shared
}
"""What is in answers to those who are merely known."""


def reading(service: Service) -> Iterator[Route]:
    return (route for route in service.routes if route.method == "GET" and not route.is_open)


def url(service: Service, route: Route) -> str:
    return service.prefix + re.sub(r"\{\w+\}", lambda _match: new_id(), route.path)


@pytest.fixture
def shared(admin: Client) -> None:
    """Networks that everybody with a project sees."""
    for more in ({"shared": True}, {"router:external": True}):
        made = admin.under("/network/v2.0").ok("POST", "/networks", json={"network": {"name": "n", **more}})
        subnet = {"network_id": made["network"]["id"], "ip_version": 4, "cidr": "10.0.0.0/24"}
        admin.under("/network/v2.0").ok("POST", "/subnets", json={"subnet": subnet})


@pytest.mark.parametrize("scope", ["domain", "system"])
def test_other_services_answer_tokens_of_projects(serving: Serving, shared: None, scope: str) -> None:
    """The administrator's token for a domain, or for the system, opens nothing there (upstream's scope types)."""
    api = serving.user("admin", "", SCOPES[scope])
    asked = 0
    for service in serving.cloud.services:
        for route in reading(service) if service.name != "identity" else ():
            answer = api("GET", url(service, route))
            asked += 1
            assert answer.status_code < 500, route
            if answer.status_code < 300:  # a list of the network's shows what each row's rule allows: nothing
                assert service.name == "network" and not any(answer.json.values()), (route, answer.text)
    assert asked > 60


def test_an_unscoped_token_reads_nothing(serving: Serving, shared: None) -> None:
    api = serving.user("admin", "", SCOPES["none"])
    found = set()
    for service in serving.cloud.services:
        for route in reading(service):
            answer = api("GET", url(service, route))
            assert answer.status_code < 500, route
            if answer.status_code < 300 and any(answer.json.values()):
                found.add((service.name, route.path))
    assert {path for _, path in found} == FOR_EVERYBODY


DOMAIN = "/domains/default"
WHOLE_SYSTEM = [
    ("POST", "/domains", {"domain": {"name": "d"}}),
    ("PATCH", DOMAIN, {"domain": {"description": "mine"}}),
    ("POST", "/roles", {"role": {"name": "r"}}),
    ("GET", "/role_inferences", None),
    ("GET", "/services", None),
    ("GET", "/endpoints", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WHOLE_SYSTEM)
def test_the_system_is_not_a_domains(serving: Serving, admin: Client, method: str, path: str, body: Any) -> None:
    """The role admin on a domain does not make, change or read what is of the whole system (Keystone's scope types)."""
    of_domain, of_system = (serving.user("admin", "/identity/v3", SCOPES[scope]) for scope in ("domain", "system"))
    assert of_domain(method, path, json=body).status_code == 403
    assert of_system(method, path, json=body).status_code in (200, 201)


def test_a_domains_token_gives_no_roles_on_the_system(serving: Serving, admin: Client) -> None:
    of_domain = serving.user("admin", "/identity/v3", SCOPES["domain"])
    user, role = ident(admin, "users", "demo"), ident(admin, "roles", "admin")
    for method in ("GET", "PUT", "DELETE"):
        assert of_domain(method, f"/system/users/{user}/roles/{role}").status_code == 403
    assert admin("PUT", f"/system/users/{user}/roles/{role}").status_code == 204
