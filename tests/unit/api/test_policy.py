"""Policy: the documented defaults, and what an operator's policy.yaml makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pileus.api import Caller, Policy, Requester
from pileus.api.policy_file import BadPolicyFile
from pileus.compute.policies import RULES
from pileus.errors import Forbidden
from pileus.settings import Settings

MINE, OTHERS = {"project_id": "p"}, {"project_id": "q"}


def caller(*roles: str, **values: Any) -> Caller:
    return Caller(**{"user_id": "u", "user_name": "n", "user_domain_id": "d", "project_id": "p"} | values, roles=roles)


def made(tmp_path: Path, scopes: tuple[str, ...] = ("project",)) -> Policy:
    refusal = "Policy doesn't allow {rule} to be performed."
    return Policy(RULES, tmp_path / "compute.yaml", refusal, "context_is_admin", scopes)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return made(tmp_path)


def allows(policy: Policy, rule: str, target: dict[str, str], who: Caller) -> bool:
    return policy.allows(rule, target, policy.credentials(who))


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
    assert allows(policy, f"os_compute_api:{rule}", target, caller(*roles)) is expected


def test_a_refusal_names_the_rule(policy: Policy) -> None:
    asks = Requester(policy, Settings(state="/nowhere"), "req-1")
    asks.caller = caller("reader")
    with pytest.raises(Forbidden, match="Policy doesn't allow os_compute_api:servers:create to be performed"):
        asks.require("os_compute_api:servers:create", MINE)
    assert asks.asked == {"os_compute_api:servers:create"}


def test_key_pairs_belong_to_users(policy: Policy) -> None:
    rule = "os_compute_api:os-keypairs:show"
    assert allows(policy, rule, {"user_id": "u"}, caller("member"))
    assert not allows(policy, rule, {"user_id": "v"}, caller("member"))
    assert allows(policy, rule, {"user_id": "v"}, caller("admin"))


def test_an_operators_file_overrides(tmp_path: Path) -> None:
    (tmp_path / "compute.yaml").write_text(
        '"os_compute_api:servers:create": "role:builder and project_id:%(project_id)s"\n'
        '"os_compute_api:servers:delete": "!"\n'
        '"project_reader_api": "role:auditor"\n'
    )
    policy = made(tmp_path)
    assert allows(policy, "os_compute_api:servers:create", MINE, caller("builder"))
    assert not allows(policy, "os_compute_api:servers:create", MINE, caller("member", "admin"))
    assert not allows(policy, "os_compute_api:servers:delete", MINE, caller("admin"))
    assert allows(policy, "os_compute_api:servers:show", OTHERS, caller("auditor")), "what a rule refers to changes too"
    assert allows(policy, "os_compute_api:servers:update", MINE, caller("member")), "what is not named stays"


def test_a_file_that_comes_later_counts(tmp_path: Path) -> None:
    policy = made(tmp_path)
    assert not allows(policy, "os_compute_api:os-hypervisors:list", MINE, caller("member"))
    (tmp_path / "compute.yaml").write_text('"os_compute_api:os-hypervisors:list": "role:member"\n')
    again = made(tmp_path)
    assert allows(again, "os_compute_api:os-hypervisors:list", MINE, caller("member"))


INVALID = {
    "no YAML": b'"a": [',
    "no UTF-8": b'"a": "\xff"',
    "a list": b'- "role:member"',
    "a text": b"role:member",
    "a number": b'"a": 5',
    "nothing": b'"a":',
    "a number for a name": b'5: "role:member"',
    "not understood": b'"os_compute_api:servers:show": "role:member and and"',
    "unended": b'"os_compute_api:servers:show": "(role:member"',
    "no such rule": b'"os_compute_api:servers:show": "rule:nothing"',
    "a circle": b'"one": "rule:two"\n"two": "rule:one"',
    "itself": b'"os_compute_api:servers:show": "rule:os_compute_api:servers:show"',
    "deep": b'"a": ' + b"[" * 1000,
}


@pytest.mark.parametrize("content", INVALID.values(), ids=INVALID)
def test_an_invalid_file_is_refused_at_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "compute.yaml").write_bytes(content)
    with pytest.raises(BadPolicyFile, match=str(tmp_path / "compute.yaml")):
        made(tmp_path)


@pytest.mark.parametrize("content", [*INVALID.values(), None], ids=[*INVALID, "gone"])
def test_a_file_that_becomes_invalid_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    """Neither are requests answered by errors, nor is what the operator allowed or forbade forgotten."""
    file = tmp_path / "compute.yaml"
    file.write_text('"os_compute_api:os-hypervisors:list": "role:member"\n"os_compute_api:servers:create": "!"\n')
    policy = made(tmp_path)
    file.unlink() if content is None else file.write_bytes(content)
    for _ in range(2):
        assert allows(policy, "os_compute_api:os-hypervisors:list", MINE, caller("member"))
        assert not allows(policy, "os_compute_api:servers:create", MINE, caller("member"))
        assert allows(policy, "os_compute_api:servers:show", MINE, caller("reader"))
    file.write_text('"os_compute_api:servers:show": "!"\n')
    assert not allows(policy, "os_compute_api:servers:show", MINE, caller("reader")), "what is mended counts at once"
    assert not allows(policy, "os_compute_api:os-hypervisors:list", MINE, caller("member"))


def test_who_administrates_is_a_rule(tmp_path: Path) -> None:
    (tmp_path / "compute.yaml").write_text('"context_is_admin": "role:boss"\n')
    policy = made(tmp_path)
    assert policy.credentials(caller("boss")).is_admin and not policy.credentials(caller("admin")).is_admin
    assert allows(policy, "os_compute_api:os-hypervisors:list", MINE, caller("boss"))
    assert not allows(policy, "os_compute_api:os-hypervisors:list", MINE, caller("admin"))


def test_a_token_of_another_scope_may_nothing(policy: Policy, tmp_path: Path) -> None:
    for scope in ({"project_id": None, "system": True}, {"project_id": None, "domain_id": "d"}):
        who = caller("admin", "member", "reader", **scope)
        assert not policy.credentials(who).is_admin and not allows(policy, "os_compute_api:servers:show", MINE, who)
    everything = made(tmp_path, ("project", "domain", "system"))
    assert everything.credentials(caller("admin", project_id=None, system=True)).is_admin


def test_what_an_operator_adds_is_found_by_its_beginning(tmp_path: Path) -> None:
    policy = made(tmp_path)
    policy.credentials(caller())
    known = policy.under("os_compute_api:limits")
    assert known[""] == "os_compute_api:limits"
    assert known is policy.under("os_compute_api:limits")
    (tmp_path / "compute.yaml").write_text('"os_compute_api:limits:mine": "role:admin"\n')
    policy.credentials(caller())
    assert policy.under("os_compute_api:limits") == {**known, ":mine": "os_compute_api:limits:mine"}


def test_a_requester_who_becomes_another_is_judged_as_that_one(policy: Policy) -> None:
    """As happens when a request is read again, and what its token stands for changed meanwhile."""
    asks = Requester(policy, Settings(state="/nowhere"), "req-1")
    asks.speak_for(caller("admin"))
    assert asks.is_admin
    assert asks.parameters == {"caller_project": "p"}
    asks.speak_for(caller("reader", project_id="q"))
    assert not asks.is_admin
    assert asks.parameters == {"caller_project": "q"}
    assert asks.asked == set()


def test_what_is_remembered_is_bounded(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules are asked about what clients send: of long texts nothing is kept, and of short ones not too much."""
    monkeypatch.setattr("pileus.api.policy.MOST_DECISIONS", 20)
    rule, who = "os_compute_api:servers:show", [caller("reader", user_id=f"u{number}") for number in range(10)]
    assert allows(policy, rule, MINE | {"name": "x" * 100_000}, who[0])
    assert not policy.credentials(who[0]).decided
    for one in who:
        for number in range(5):
            assert allows(policy, rule, MINE | {"name": str(number)}, one)
    assert sum(len(policy.credentials(one).decided) for one in who) <= 20
