"""Policy over all routes of all services: what a route declares exists, and what is declared is asked somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import falcon.testing
import pytest
from sqlalchemy import func, select

from pileus.api import Context, Values, app
from pileus.api.policy import Policy
from pileus.api.routes import OPEN, Route
from pileus.api.service import Service
from pileus.cloud import services
from pileus.compute import flavors
from pileus.compute.model import Flavor
from pileus.compute.policies import SIGNED_IN
from pileus.network.routes import NOUNS
from pileus.network.style import Noun
from pileus.settings import Settings
from tests.unit.serving import Serving

SERVICES = {service.name: service for service in services(Settings(state="/nonexistent"))}

FOR_OPERATORS = {
    "compute": {"admin_api", "admin_or_owner", "project_manager_or_admin", "service_or_admin"},
    "placement": {"admin_api", "service_api"},
    "network": {"admin_owner_or_network_owner", "default"},
    "membership": {"context_is_admin"},
}
"""Documented building blocks of operators' policy files, which no default is built of."""

PROVEN_BY_BODY = {
    ("POST", "/v3/auth/tokens"),
    ("POST", "/v3/users/{user_id}/password"),
    ("POST", "/v1/agents"),  # sealed with a join token
}
"""What needs no token because its body says who asks."""


def declared(service: Service) -> set[str]:
    """The rules that a service's routes name."""
    return {rule for route in service.routes for rule in (*route.rules, *route.asks)} - {OPEN}


def parts(policy: Policy) -> set[str]:
    """The rules that others are built of."""
    return {found for check in policy.checks.values() for found in re.findall(r"rule:([\w:-]+)", check)}


def of_attributes() -> set[str]:
    """The rules of single attributes that the network's nouns ask for every body and every answer."""
    verbs = {"create": "post", "update": "put"}
    nouns = [value for module in NOUNS for value in vars(module).values() if isinstance(value, Noun)]
    found = {f"get_{noun.name}:{name}" for noun in nouns for name in noun.attributes}
    return found | {
        f"{verb}_{noun.name}:{name}"
        for noun in nouns
        for name, attribute in noun.attributes.items()
        for verb, may in verbs.items()
        if getattr(attribute, may)
    }


def asked_by_nouns(rules: set[str]) -> set[str]:
    """Those rules that are about an attribute (`create_port:fixed_ips`), or a part of one."""
    known = of_attributes()
    return {rule for rule in rules if any(rule == one or rule.startswith(f"{one}:") for one in known)}


@pytest.mark.parametrize("name", SERVICES)
def test_every_rule_that_a_route_names_exists(name: str) -> None:
    assert declared(SERVICES[name]) - SERVICES[name].policy.names == set()


@pytest.mark.parametrize("name", SERVICES)
def test_every_declared_rule_is_asked_somewhere(name: str) -> None:
    service = SERVICES[name]
    unasked = set(service.policy.names) - declared(service) - parts(service.policy) - FOR_OPERATORS.get(name, set())
    if name == "network":
        unasked -= asked_by_nouns(unasked)
    assert unasked == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_rule_that_is_asked_before_the_handler_is_one(name: str) -> None:
    doubtful = [route for route in SERVICES[name].routes if not route.deferred and len(route.rules) != 1]
    assert [f"{route.method} {route.path}" for route in doubtful] == []


@pytest.mark.parametrize("name", SERVICES)
def test_only_what_precedes_a_token_is_open(name: str) -> None:
    open_routes = {(route.method, route.path) for route in SERVICES[name].routes if route.is_open}
    documents = {"", "/v2", "/v2.1", "/v3", "/versions", "/versions/{key}", "/v2.1/versions/{key}"}
    assert open_routes - {("GET", path) for path in documents} <= PROVEN_BY_BODY


def test_an_answer_without_its_rule_is_a_defect(tmp_path: Path) -> None:
    serving = Serving(tmp_path)
    compute = next(service for service in serving.cloud.services if service.name == "compute")

    def forgetful(ctx: Context) -> Values:
        flavors.bootstrap(ctx.session)
        return {"secret": True}

    path = "/v2.1/forgetful"
    route = Route(method="POST", path=path, handler=forgetful, policy=SIGNED_IN, deferred=True, transaction="write")
    compute.routes.append(route)
    client = falcon.testing.TestClient(app.build(serving.cloud, serving.cloud.services))
    token = serving.login("admin").headers["X-Subject-Token"]
    answer = client.simulate_post("/compute" + path, headers={"X-Auth-Token": token}, json={})
    assert answer.status_code == 500 and "secret" not in answer.text
    with serving.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Flavor)) == 0, "nothing is committed"


RESTRICTED = [
    ("os-flavor-manage:create", "POST", "/flavors", {"flavor": {"name": "f", "ram": 1, "vcpus": 1, "disk": 1}}),
    ("os-flavor-manage:update", "PUT", "/flavors/1", {"flavor": {"description": "x"}}),
    ("os-flavor-manage:delete", "DELETE", "/flavors/1", None),
    ("os-flavor-access", "GET", "/flavors/1/os-flavor-access", None),
    ("os-flavor-access:add_tenant_access", "POST", "/flavors/1/action", {"addTenantAccess": {"tenant": "p"}}),
    ("os-flavor-access:remove_tenant_access", "POST", "/flavors/1/action", {"removeTenantAccess": {"tenant": "p"}}),
    ("os-flavor-extra-specs:index", "GET", "/flavors/1/os-extra_specs", None),
    ("os-flavor-extra-specs:show", "GET", "/flavors/1/os-extra_specs/a", None),
    ("os-flavor-extra-specs:create", "POST", "/flavors/1/os-extra_specs", {"extra_specs": {"a": "b"}}),
    ("os-flavor-extra-specs:update", "PUT", "/flavors/1/os-extra_specs/a", {"a": "b"}),
    ("os-flavor-extra-specs:delete", "DELETE", "/flavors/1/os-extra_specs/a", None),
    ("os-keypairs:index", "GET", "/os-keypairs", None),
    ("os-keypairs:show", "GET", "/os-keypairs/k", None),
    ("os-keypairs:create", "POST", "/os-keypairs", {"keypair": {"name": "k", "public_key": "none"}}),
    ("os-keypairs:delete", "DELETE", "/os-keypairs/k", None),
    ("limits", "GET", "/limits", None),
    ("limits:other_project", "GET", "/limits?tenant_id=p", None),
    ("os-quota-sets:show", "GET", "/os-quota-sets/p", None),
    ("os-quota-sets:detail", "GET", "/os-quota-sets/p/detail", None),
    ("os-quota-sets:defaults", "GET", "/os-quota-sets/p/defaults", None),
    ("os-quota-sets:update", "PUT", "/os-quota-sets/p", {"quota_set": {"cores": 1}}),
    ("os-quota-sets:delete", "DELETE", "/os-quota-sets/p", None),
    ("os-services:list", "GET", "/os-services", None),
    ("os-services:update", "PUT", "/os-services/00000000-0000-0000-0000-000000000000", {"status": "enabled"}),
    ("os-services:delete", "DELETE", "/os-services/00000000-0000-0000-0000-000000000000", None),
    ("os-hypervisors:list", "GET", "/os-hypervisors", None),
    ("os-hypervisors:list-detail", "GET", "/os-hypervisors/detail", None),
    ("os-hypervisors:show", "GET", "/os-hypervisors/00000000-0000-0000-0000-000000000000", None),
    ("extensions", "GET", "/extensions", None),
]


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Serving:
    """A cloud whose operator forbids everything that RESTRICTED names, but what /limits needs first."""
    directory = tmp_path_factory.mktemp("restricted")
    (directory / "policy").mkdir()
    rules = [f'"os_compute_api:{rule}": "!"' for rule, *_ in RESTRICTED if rule != "limits"]
    (directory / "policy" / "compute.yaml").write_text("\n".join([*rules, '"os_compute_api:limits": "role:admin"']))
    return Serving(directory)


@pytest.mark.parametrize(("rule", "method", "path", "body"), RESTRICTED, ids=[rule for rule, *_ in RESTRICTED])
def test_what_an_operator_forbids_is_refused(
    restricted: Serving, rule: str, method: str, path: str, body: Values | None
) -> None:
    """Also where there is no such object, so that nobody learns which there are."""
    asks = restricted.user("demo" if rule == "limits" else "admin", "/compute/v2.1")
    headers = {"OpenStack-API-Version": "compute 2.104"}
    answer = asks(method, path, headers=headers, **({"json": body} if body else {}))
    assert (answer.status_code, answer.json["forbidden"]["message"]) == (
        403,
        f"Policy doesn't allow os_compute_api:{rule} to be performed.",
    )
