"""Policy: the documented defaults, and what an operator's policy.yaml makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pileus.api import Caller, Policy
from pileus.compute.policies import RULES
from pileus.errors import Forbidden

MINE, OTHERS = {"project_id": "p"}, {"project_id": "q"}


def caller(*roles: str, **values: Any) -> Caller:
    return Caller(**{"user_id": "u", "user_name": "n", "user_domain_id": "d", "project_id": "p"} | values, roles=roles)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return Policy(RULES, tmp_path / "compute.yaml", "Policy doesn't allow {rule} to be performed.")


@pytest.mark.parametrize(
    ("rule", "roles", "target", "expected"),
    [
        ("servers:show", ("reader",), MINE, True),
        ("servers:show", ("reader",), OTHERS, False),
        ("servers:show", ("admin",), OTHERS, True),
        ("servers:show", (), MINE, False),
        ("servers:create", ("reader",), MINE, False),
        ("servers:create", ("member",), MINE, True),
        ("servers:create", ("member",), OTHERS, False),
        ("servers:create:forced_host", ("member",), MINE, False),
        ("servers:create:forced_host", ("admin",), MINE, True),
        ("os-lock-server:unlock:unlock_override", ("member",), MINE, False),
        ("os-hypervisors:list", ("member", "reader"), MINE, False),
    ],
)
def test_defaults(policy: Policy, rule: str, roles: tuple[str, ...], target: dict[str, str], expected: bool) -> None:
    assert policy.allows(f"os_compute_api:{rule}", target, caller(*roles)) is expected


def test_a_refusal_names_the_rule(policy: Policy) -> None:
    with pytest.raises(Forbidden, match="Policy doesn't allow os_compute_api:servers:create to be performed"):
        policy.require("os_compute_api:servers:create", MINE, caller("reader"))


def test_key_pairs_belong_to_users(policy: Policy) -> None:
    rule = "os_compute_api:os-keypairs:show"
    assert policy.allows(rule, {"user_id": "u"}, caller("member"))
    assert not policy.allows(rule, {"user_id": "v"}, caller("member"))
    assert policy.allows(rule, {"user_id": "v"}, caller("admin"))


def test_an_operators_file_overrides(tmp_path: Path) -> None:
    (tmp_path / "compute.yaml").write_text(
        '"os_compute_api:servers:create": "role:builder and project_id:%(project_id)s"\n'
        '"os_compute_api:servers:delete": "!"\n'
        '"project_reader_api": "role:auditor"\n'
    )
    policy = Policy(RULES, tmp_path / "compute.yaml", "{rule}")
    assert policy.allows("os_compute_api:servers:create", MINE, caller("builder"))
    assert not policy.allows("os_compute_api:servers:create", MINE, caller("member", "admin"))
    assert not policy.allows("os_compute_api:servers:delete", MINE, caller("admin"))
    assert policy.allows("os_compute_api:servers:show", OTHERS, caller("auditor")), "what a rule refers to changes too"
    assert policy.allows("os_compute_api:servers:update", MINE, caller("member")), "what is not named stays"


def test_a_file_that_comes_later_counts(tmp_path: Path) -> None:
    policy = Policy(RULES, tmp_path / "compute.yaml", "{rule}")
    assert not policy.allows("os_compute_api:os-hypervisors:list", MINE, caller("member"))
    (tmp_path / "compute.yaml").write_text('"os_compute_api:os-hypervisors:list": "role:member"\n')
    again = Policy(RULES, tmp_path / "compute.yaml", "{rule}")
    assert again.allows("os_compute_api:os-hypervisors:list", MINE, caller("member"))
