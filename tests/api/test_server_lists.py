"""Lists of servers: filters, order, pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.compute import NEWEST, User


@pytest.fixture(scope="module")
def five(owner_session: User, image: str, network: str) -> Iterator[list[str]]:
    """Ids of five servers, oldest first; their names and tags differ, the last has an address and a key."""
    owner = owner_session
    owner("POST", "/os-keypairs", {"keypair": {"name": "listed"}})
    each: list[dict[str, Any]] = [
        {"name": "web-1", "tags": ["red"]},
        {"name": "web-2", "tags": ["red", "blue"]},
        {"name": "db-1", "tags": ["blue"]},
        {"name": "db-2", "description": "spare"},
        {"name": "wéb-3", "tags": ["grün"], "networks": [{"uuid": network, "fixed_ip": "10.1.99.9"}]},
    ]
    each[4] |= {"key_name": "listed", "config_drive": True}
    made = [owner.boot(NEWEST, **{"imageRef": image, "networks": "none"} | values) for values in each]
    yield made
    owner.clear()
    owner("DELETE", "/os-keypairs/listed")


def names(user: User, query: str, version: str = NEWEST) -> list[str]:
    found = [one["name"] for one in user.get(f"/servers?{query}", version)["servers"]]
    detailed = [one["name"] for one in user.get(f"/servers/detail?{query}", version)["servers"]]
    assert found == detailed
    return found


def test_newest_first(owner_session: User, five: list[str]) -> None:
    assert names(owner_session, "") == ["wéb-3", "db-2", "db-1", "web-2", "web-1"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("name=web", {"web-1", "web-2"}),
        ("name=" + quote("^(db|web)-1$"), {"db-1", "web-1"}),
        ("name=" + quote("w.b"), {"web-1", "web-2", "wéb-3"}),
        ("status=ACTIVE", {"web-1", "web-2", "db-1", "db-2", "wéb-3"}),
        ("status=active&status=error&name=db", {"db-1", "db-2"}),
        ("status=SHUTOFF", set()),
        ("flavor=42&name=db", {"db-1", "db-2"}),
        ("flavor=1", set()),
        ("tags=red", {"web-1", "web-2"}),
        ("tags=red,blue", {"web-2"}),
        ("tags-any=red,blue", {"web-1", "web-2", "db-1"}),
        ("not-tags=red,blue", {"web-1", "db-1", "db-2", "wéb-3"}),
        ("not-tags-any=red,blue", {"db-2", "wéb-3"}),
        ("tags=" + quote("grün"), {"wéb-3"}),
        ("tags=re", set()),
        ("ip=" + quote(r"10\.1\.99\."), {"wéb-3"}),
        ("ip6=10", set()),
        ("key_name=listed", {"wéb-3"}),
        ("config_drive=true", {"wéb-3"}),
        ("locked=true", set()),
        ("vm_state=active&name=db-1", {"db-1"}),
        ("availability_zone=nova", set()),
        ("task_state=deleting", set()),
        ("changes-since=2100-01-01T00:00:00Z", set()),
        ("changes-before=2000-01-01T00:00:00Z", set()),
    ],
)
def test_filters(owner_session: User, five: list[str], query: str, expected: set[str]) -> None:
    assert set(names(owner_session, query)) == expected


def test_administrators_filters(owner_session: User, root_user: User, five: list[str]) -> None:
    host = root_user.server(five[0])["OS-EXT-SRV-ATTR:host"]
    query = f"all_tenants=1&host={host}&project_id={owner_session.project_id}"
    on_host = names(root_user, query)
    assert "web-1" in on_host and len(on_host) < 5
    assert names(root_user, "") == [], "an administrator's own project has none"
    assert len(names(root_user, f"all_tenants=1&project_id={owner_session.project_id}")) == 5
    assert len(names(owner_session, f"host={host}")) == 5, "for others the filter does not count"
    assert names(root_user, f"all_tenants=1&uuid={five[2]}") == ["db-1"]
    assert names(root_user, "all_tenants=1&description=spare") == ["db-2"]


def test_order(owner_session: User, five: list[str]) -> None:
    assert names(owner_session, "sort_key=display_name&sort_dir=asc") == ["db-1", "db-2", "web-1", "web-2", "wéb-3"]
    by_key = names(owner_session, "sort_key=key_name&sort_key=display_name&sort_dir=desc&sort_dir=asc")
    assert by_key == ["wéb-3", "db-1", "db-2", "web-1", "web-2"]
    assert names(owner_session, "sort_key=created_at&sort_dir=asc")[0] == "web-1"


def test_where_servers_are_is_no_order_of_a_tenants(owner_session: User, root_user: User, five: list[str]) -> None:
    """The order of hosts' names, which are not shown, was."""
    assert len(names(root_user, "all_tenants=1&sort_key=host")) >= 5
    for path in ("/servers", "/servers/detail"):
        assert owner_session("GET", f"{path}?sort_key=name&sort_key=host").status_code == 403


@pytest.mark.parametrize("route", ["/servers", "/servers/detail"])
@pytest.mark.parametrize("query", ["limit=2", "limit=2&sort_key=key_name&sort_dir=asc", "limit=1&name=web", "limit=5"])
def test_pages_by_their_links(owner_session: User, five: list[str], route: str, query: str) -> None:
    whole = [one["id"] for one in owner_session.get(f"{route}?{query.partition('&')[2]}", NEWEST)["servers"]]
    url, seen = f"{route}?{query}", []
    while url:
        page = owner_session.get(url, NEWEST)
        assert len(page["servers"]) <= int(query[6])
        seen += [one["id"] for one in page["servers"]]
        ((link,)) = page.get("servers_links") or [None]
        assert link is None or (link["rel"] == "next" and link["href"].startswith(f"{owner_session.root}/compute/v2.1"))
        url = link["href"].removeprefix(owner_session.root) if link else ""
    assert seen == whole and seen


@pytest.mark.parametrize("marker", ["", "nothing"])
def test_a_marker_that_is_no_server(owner_session: User, five: list[str], marker: str) -> None:
    for path in ("/servers", "/servers/detail", f"/servers/{five[0]}/os-instance-actions", "/flavors"):
        assert owner_session("GET", f"{path}?marker={marker}", version=NEWEST).status_code == 400, path


def test_limit_zero(owner_session: User, five: list[str]) -> None:
    assert owner_session.get("/servers?limit=0", NEWEST) == {"servers": []}


def test_changes_since_shows_what_was_deleted(owner: User, image: str) -> None:
    none = {"imageRef": image, "networks": "none"}
    old, doomed = owner.boot("2.37", **none), owner.boot("2.37", **none)
    moment = quote(datetime.now(UTC).isoformat())
    assert owner.get(f"/servers?changes-since={moment}")["servers"] == []
    owner.delete(doomed)
    (changed,) = owner.get(f"/servers/detail?changes-since={moment}")["servers"]
    assert (changed["id"], changed["status"]) == (doomed, "DELETED")
    assert changed["OS-SRV-USG:terminated_at"] is not None
    owner("PUT", f"/servers/{old}", {"server": {"name": "touched"}})
    assert {one["id"] for one in owner.get(f"/servers?changes-since={moment}")["servers"]} == {old, doomed}


def test_deleted_servers_are_for_administrators(owner: User, root_user: User, image: str) -> None:
    server_id = owner.boot("2.37", imageRef=image, networks="none", name="buried")
    owner.delete(server_id)
    assert names(root_user, "all_tenants=1&deleted=true&name=buried") == ["buried"]
    assert names(root_user, "all_tenants=1&status=DELETED&name=buried") == ["buried"]
    assert owner("GET", "/servers?status=DELETED").status_code == 403
    assert owner.get("/servers?deleted=true")["servers"] == []


@pytest.mark.parametrize("pattern", ["[broken", "(a", r"(a)\1", "a**", "(?=a)", "a{1001}", "a" * 1025])
@pytest.mark.parametrize("key", ["name", "ip", "ip6"])
def test_what_is_no_pattern_is_refused(owner: User, key: str, pattern: str) -> None:
    answer = owner("GET", f"/servers?{key}={quote(pattern)}", version=NEWEST)
    assert (answer.status_code, key in answer.json()["badRequest"]["message"]) == (400, True)
