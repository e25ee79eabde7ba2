"""Host aggregates and the availability zones that they make."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert

from pileus.compute.model import Host
from pileus.db import in_seconds
from pileus.operations.model import ReplicaRow
from tests.client import Client
from tests.unit.nouns import Nouns

URL = "/os-aggregates"
NONE: list[dict[str, Any]] = [
    {}, {"name": ""}, {"name": " a"}, {"name": "x" * 256}, {"name": 1}, {"name": "a", "hosts": []},
    {"name": "a", "availability_zone": ""}, {"name": "a", "availability_zone": "a:b"},
    {"name": "a", "availability_zone": "x" * 256}, {"name": "a", "metadata": {}},
]  # fmt: skip


def make(admin: Client, name: str = "rack", zone: str | None = None, *hosts: str) -> str:
    """URL of a new aggregate."""
    given = {"name": name} | ({"availability_zone": zone} if zone else {})
    one = f"{URL}/{admin.ok('POST', URL, json={'aggregate': given})['aggregate']['id']}"
    for host in hosts:
        act(admin, one, "add_host", host=host)
    return one


def act(admin: Client, one: str, action: str, status: int = 200, **values: Any) -> Any:
    """The aggregate after an action, or the message of the refusal."""
    answer = admin("POST", f"{one}/action", json={action: values})
    assert answer.status_code == status, answer.text
    return answer.json["aggregate"] if status == 200 else next(iter(answer.json.values()))["message"]


def put(admin: Client, one: str, status: int = 200, **values: Any) -> Any:
    answer = admin("PUT", one, json={"aggregate": values})
    assert answer.status_code == status, answer.text
    return answer.json["aggregate"] if status == 200 else next(iter(answer.json.values()))["message"]


def host_zones(nouns: Nouns) -> dict[str, str]:
    with nouns.serving.db.read() as session:
        return {host.name: host.zone for host in session.query(Host)}


def test_create_show_list_update_delete(admin: Client) -> None:
    made = admin("POST", URL, json={"aggregate": {"name": "rack", "availability_zone": "west"}})
    assert made.status_code == 200
    brief = made.json["aggregate"]
    assert brief["created_at"] and len(brief["uuid"]) == 36 and brief == {
        "id": 1, "uuid": brief["uuid"], "name": "rack", "availability_zone": "west", "deleted": False,
        "deleted_at": None, "created_at": brief["created_at"], "updated_at": None,
    }  # fmt: skip
    whole = brief | {"hosts": [], "metadata": {"availability_zone": "west"}}
    assert admin.ok("GET", f"{URL}/1") == {"aggregate": whole}
    assert admin.ok("GET", URL) == {"aggregates": [whole]}
    changed = put(admin, f"{URL}/1", name=" row ", availability_zone="east")
    assert changed.pop("updated_at") and changed == {
        key: value for key, value in whole.items() if key != "updated_at"
    } | {"name": "row", "availability_zone": "east", "metadata": {"availability_zone": "east"}}
    gone = admin("DELETE", f"{URL}/1")
    assert (gone.status_code, gone.text) == (200, "")
    assert admin("GET", f"{URL}/1").json["itemNotFound"]["message"] == "Aggregate 1 could not be found."
    assert make(admin) == f"{URL}/2", "an id is given once"


def test_uuids_since_2_41(admin: Client) -> None:
    one = make(admin)
    assert (
        "uuid" not in admin.ok("GET", one, version="2.40")["aggregate"]
        and "uuid" in admin.ok("GET", one, version="2.41")["aggregate"]
    )
    made = admin.ok("POST", URL, version="2.40", json={"aggregate": {"name": "b"}})["aggregate"]
    assert "uuid" not in made and made["availability_zone"] is None
    assert admin("POST", f"{one}/images", version="2.81", json={"cache": []}).status_code == 404


def test_what_is_no_aggregate_is_refused(admin: Client) -> None:
    for given in NONE:
        assert admin("POST", URL, json={"aggregate": given}).status_code == 400, given
    assert admin.ok("GET", URL) == {"aggregates": []}


def test_names_are_taken_once(admin: Client) -> None:
    make(admin, "a")
    answer = admin("POST", URL, json={"aggregate": {"name": "a"}})
    assert answer.status_code == 409 and answer.json["conflictingRequest"]["message"] == "Aggregate a already exists."
    other = make(admin, "b")
    assert put(admin, other, 409, name="a") == "Aggregate a already exists."
    assert put(admin, other, name="b")["name"] == "b"
    for wrong in ({}, {"name": " "}, {"name": "c", "id": 5}, {"availability_zone": 5}):
        put(admin, other, 400, **wrong)


def test_ids_are_numbers(admin: Client) -> None:
    for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("POST", "/action")):
        sent = {"json": {"aggregate": {"name": "a"}} if method == "PUT" else {"add_host": {"host": "up"}}}
        options = sent if method in ("PUT", "POST") else {}
        assert admin(method, f"{URL}/rack{path}", **options).status_code == 400
        assert admin(method, f"{URL}/77{path}", **options).status_code == 404


def test_only_administrators(admin: Client, demo: Client) -> None:
    make(admin)
    action = {"add_host": {"host": "up"}, "remove_host": {"host": "up"}, "set_metadata": {"metadata": {}}}
    requests: list[tuple[str, str, Any]] = [
        ("GET", "", None), ("POST", "", {"aggregate": {"name": "a"}}), ("GET", "/1", None), ("DELETE", "/1", None),
        ("PUT", "/1", {"aggregate": {"name": "a"}}), *(("POST", "/1/action", {key: action[key]}) for key in action),
    ]  # fmt: skip
    for method, path, sent in requests:
        for which in (path, path.replace("1", "77"), path.replace("1", "rack")):
            answer = demo(method, URL + which, **({"json": sent} if sent else {}))
            assert answer.status_code == 403 and "os_compute_api:os-aggregates:" in answer.text
    assert len(admin.ok("GET", URL)["aggregates"]) == 1


def test_hosts_come_and_go(admin: Client) -> None:
    one = make(admin)
    assert act(admin, one, "add_host", host="up")["hosts"] == ["up"]
    assert act(admin, one, "add_host", host="down")["hosts"] == ["down", "up"]
    assert act(admin, one, "add_host", 409, host="up") == "Aggregate 1 already has host up."
    assert act(admin, one, "add_host", 404, host="nope") == "Compute host nope could not be found."
    assert admin("DELETE", one).json["badRequest"]["message"].endswith("Host aggregate is not empty.")
    assert act(admin, one, "remove_host", host="up")["hosts"] == ["down"]
    assert act(admin, one, "remove_host", 404, host="up") == "Cannot remove host up in aggregate 1"
    for action in ("add_host", "remove_host"):
        for wrong in ({}, {"host": "a b"}, {"host": ""}, {"host": "up", "more": 1}):
            act(admin, one, action, 400, **wrong)
    assert admin("POST", f"{one}/action", json={"nope": {}}).status_code == 400
    assert act(admin, one, "remove_host", host="down")["hosts"] == []
    assert admin("DELETE", one).status_code == 200


def test_metadata_is_merged(admin: Client) -> None:
    one = make(admin, "rack", "west")
    assert act(admin, one, "set_metadata", metadata={"ssd": "true", "gen": "7"})["metadata"] == {
        "availability_zone": "west", "ssd": "true", "gen": "7",
    }  # fmt: skip
    changed = act(admin, one, "set_metadata", metadata={"ssd": None, "gen": "8", "none": None})
    assert changed["metadata"] == {"availability_zone": "west", "gen": "8"} and changed["updated_at"]
    changed = act(admin, one, "set_metadata", metadata={"availability_zone": "east"})
    assert (changed["availability_zone"], changed["metadata"]["availability_zone"]) == ("east", "east")
    for wrong in ({"a": 1}, {"a/b": "c"}, {"a": "x" * 256}, {"": "a"}, {"availability_zone": ""}, None):
        act(admin, one, "set_metadata", 400, metadata=wrong)
    message = act(admin, one, "set_metadata", 400, metadata={"availability_zone": None})
    assert "does not support empty named availability zone" in message
    assert put(admin, one, 400, availability_zone=None).startswith("Cannot update aggregate 1. Reason: ")
    act(admin, one, "set_metadata", 400, metadata={"availability_zone": "a:b"})
    assert admin.ok("GET", one)["aggregate"]["metadata"] == {"availability_zone": "east", "gen": "8"}


def test_hosts_follow_the_zone(nouns: Nouns, admin: Client, demo: Client) -> None:
    one = make(admin, "rack", "west", "up")
    assert host_zones(nouns) == {"up": "west", "down": "nova"}
    assert {zone["zoneName"] for zone in demo.ok("GET", "/os-availability-zone")["availabilityZoneInfo"]} == {
        "nova", "west",
    }  # fmt: skip
    put(admin, one, availability_zone="east")
    assert host_zones(nouns)["up"] == "east"
    act(admin, one, "set_metadata", metadata={"availability_zone": "south"})
    assert host_zones(nouns)["up"] == "south"
    act(admin, one, "remove_host", host="up")
    assert host_zones(nouns)["up"] == "nova"
    plain = make(admin, "fast", None, "up")
    assert host_zones(nouns)["up"] == "nova"
    put(admin, plain, availability_zone="north")
    assert host_zones(nouns)["up"] == "north"


def test_a_host_is_in_one_zone(nouns: Nouns, admin: Client) -> None:
    make(admin, "rack", "west", "up")
    other, same = make(admin, "row", "east"), make(admin, "building", "west")
    message = act(admin, other, "add_host", 409, host="up")
    assert message.startswith("Cannot add host to aggregate 2. Reason: One or more hosts already in availability zone")
    assert admin.ok("GET", other)["aggregate"]["hosts"] == [] and host_zones(nouns)["up"] == "west"
    act(admin, same, "add_host", host="up")
    plain = make(admin, "fast", None, "up")
    assert "already in availability zone" in put(admin, plain, 400, availability_zone="east")
    assert "already in availability zone" in put(admin, same, 400, availability_zone="east", name="x")
    assert admin.ok("GET", same)["aggregate"]["name"] == "building"
    assert "update metadata" in act(admin, plain, "set_metadata", 400, metadata={"availability_zone": "east", "a": "b"})
    assert admin.ok("GET", plain)["aggregate"]["metadata"] == {}
    act(admin, same, "remove_host", host="up")
    assert host_zones(nouns)["up"] == "west"


def test_the_internal_zone_is_the_control_planes(nouns: Nouns, admin: Client, demo: Client) -> None:
    with nouns.serving.db.write() as session:
        for name, seconds in (("replica-1", 15), ("replica-2", -60)):
            session.execute(insert(ReplicaRow).values(id=name, lease_until=in_seconds(seconds)))
    names = [zone["zoneName"] for zone in demo.ok("GET", "/os-availability-zone")["availabilityZoneInfo"]]
    assert names == ["nova"]
    zones = {zone["zoneName"]: zone for zone in admin.ok("GET", "/os-availability-zone/detail")["availabilityZoneInfo"]}
    assert zones.keys() == {"nova", "internal"} and zones["internal"]["zoneState"] == {"available": True}
    hosts = zones["internal"]["hosts"]
    assert {host: {name: state["available"] for name, state in found.items()} for host, found in hosts.items()} == {
        "replica-1": {"nova-conductor": True, "nova-scheduler": True},
        "replica-2": {"nova-conductor": False, "nova-scheduler": False},
    }
    assert hosts["replica-1"]["nova-scheduler"]["active"] is True and hosts["replica-1"]["nova-scheduler"]["updated_at"]


def test_a_zone_whose_hosts_are_disabled_is_not_available(admin: Client) -> None:
    make(admin, "rack", "west", "up")
    admin.ok("PUT", "/os-services/disable", version="2.1", json={"host": "up", "binary": "nova-compute"})
    found = admin.ok("GET", "/os-availability-zone/detail")["availabilityZoneInfo"]
    assert [(zone["zoneName"], zone["zoneState"]["available"]) for zone in found] == [
        ("nova", True), ("internal", True), ("west", False),
    ]  # fmt: skip
    assert found[-1]["hosts"] is None
