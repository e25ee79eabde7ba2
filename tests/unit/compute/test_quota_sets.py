"""Quota sets and limits."""

from __future__ import annotations

from unittest import mock

import pytest

from pileus.compute.quotas import QUOTAS
from tests.client import Client
from tests.unit.nouns import Nouns


@pytest.fixture
def path(nouns: Nouns) -> str:
    return f"/os-quota-sets/{nouns.project_id('demo')}"


def test_show_by_version(demo: Client, path: str) -> None:
    first, middle, last = (demo.ok("GET", path, version=version)["quota_set"] for version in ("2.1", "2.36", "2.57"))
    assert first["floating_ips"] == -1 and "floating_ips" not in middle
    assert middle["injected_files"] == 5 and "injected_files" not in last
    assert (last["instances"], last["cores"], last["ram"], last["key_pairs"]) == (10, 20, 51200, 100)
    assert last["id"] == path.rpartition("/")[2]


def test_detail_and_defaults(demo: Client, path: str) -> None:
    detail = demo.ok("GET", f"{path}/detail")["quota_set"]
    assert detail["cores"] == {"limit": 20, "in_use": 0, "reserved": 0}
    assert demo.ok("GET", f"{path}/defaults")["quota_set"]["cores"] == 20


def test_update_and_reset(admin: Client, demo: Client, path: str) -> None:
    changed = admin.ok("PUT", path, json={"quota_set": {"cores": "30", "ram": -1}})["quota_set"]
    assert (changed["cores"], changed["ram"]) == (30, -1) and "id" not in changed
    assert demo.ok("GET", path)["quota_set"]["cores"] == 30
    assert demo.ok("GET", "/limits")["limits"]["absolute"]["maxTotalCores"] == 30
    assert admin("DELETE", path).status_code == 202
    assert demo.ok("GET", path)["quota_set"]["cores"] == 20


def test_no_limit_below_what_is_used_unless_forced(admin: Client, path: str) -> None:
    used = {"instances": 3, "cores": 6, "ram": 100}
    with mock.patch.object(QUOTAS, "used", return_value=used):
        answer = admin("PUT", path, json={"quota_set": {"cores": 5, "instances": 9}})
        assert answer.status_code == 400 and "5 for cores" in answer.json["badRequest"]["message"]
        assert admin.ok("GET", path)["quota_set"]["instances"] == 10
        forced = admin.ok("PUT", path, json={"quota_set": {"cores": 5, "force": True}})
        assert forced["quota_set"]["cores"] == 5


def test_wrong_updates(admin: Client, demo: Client, path: str) -> None:
    for wrong in ({"cores": -2}, {"cores": "x"}, {"nope": 1}, {"floating_ips": 1}, {"cores": 2**31}):
        assert admin("PUT", path, json={"quota_set": wrong}).status_code == 400
    assert admin("PUT", path, version="2.35", json={"quota_set": {"floating_ips": 1}}).status_code == 200
    assert admin("PUT", f"{path}?user_id=x", json={"quota_set": {"cores": 1}}).status_code == 400
    assert demo("PUT", path, json={"quota_set": {"cores": 1}}).status_code == 403
    assert demo("DELETE", path).status_code == 403


def test_other_projects(admin: Client, demo: Client) -> None:
    assert demo("GET", "/os-quota-sets/somebody").status_code == 403
    answer = admin("GET", "/os-quota-sets/somebody")
    assert answer.status_code == 400
    assert answer.json["badRequest"]["message"] == "Project ID somebody is not a valid project."


def test_limits_by_version(demo: Client) -> None:
    shown = {
        version: demo.ok("GET", "/limits", version=version)["limits"]["absolute"]
        for version in ("2.1", "2.36", "2.39", "2.57")
    }
    assert shown["2.1"]["maxSecurityGroups"] == -1 and "maxSecurityGroups" not in shown["2.36"]
    assert shown["2.36"]["maxImageMeta"] == 128 and "maxImageMeta" not in shown["2.39"]
    assert shown["2.39"]["maxPersonality"] == 5 and "maxPersonality" not in shown["2.57"]
    assert shown["2.57"]["totalCoresUsed"] == 0


def test_limits_of_another_project(nouns: Nouns, admin: Client, demo: Client) -> None:
    query = f"/limits?tenant_id={nouns.project_id('demo')}"
    assert admin("GET", query).status_code == 200
    assert demo("GET", query).status_code == 403
    assert demo("GET", "/limits?nope=1", version="2.74").status_code == 200
    assert demo("GET", "/limits?nope=1", version="2.75").status_code == 400
