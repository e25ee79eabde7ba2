"""The history of compute, and its version documents."""

from __future__ import annotations

from pileus.compute.versions import HISTORY
from tests.client import Client
from tests.unit.nouns import Nouns


def test_every_version_has_an_entry_of_its_own() -> None:
    assert [version.number for version in HISTORY.versions] == [(2, minor) for minor in range(1, 105)]
    changes = [version.change for version in HISTORY.versions]
    assert len(set(changes)) == 104
    assert all(change.endswith(".") for change in changes)


def test_root_lists_both_versions_to_anybody(nouns: Nouns) -> None:
    answer = nouns.serving.client.simulate_get("/compute")
    assert answer.status_code == 200
    legacy, current = answer.json["versions"]
    assert (legacy["id"], legacy["version"]) == ("v2.0", "")
    assert (current["id"], current["status"]) == ("v2.1", "CURRENT")
    assert (current["min_version"], current["version"]) == ("2.1", "2.104")


def test_version_document(nouns: Nouns) -> None:
    version = nouns.serving.client.simulate_get("/compute/v2.1/").json["version"]
    assert version["version"] == "2.104"
    assert [link["rel"] for link in version["links"]] == ["self", "describedby"]
    assert nouns.serving.client.simulate_get("/compute/v2").json["version"]["id"] == "v2.0"


def test_a_version_by_its_id(nouns: Nouns, demo: Client) -> None:
    get = nouns.serving.client.simulate_get
    for version, path in (("v2.0", "/compute/v2"), ("v2.1", "/compute/v2.1")):
        document = get(path).json
        assert get(f"/compute/versions/{version}").json == document
        assert get(f"/compute/v2.1/versions/{version}").json == document
        assert demo.ok("GET", f"/versions/{version}") == document
    answer = get("/compute/versions/v3")
    assert answer.status_code == 404 and "itemNotFound" in answer.json


def test_headers_name_the_version(demo: Client) -> None:
    answer = demo("GET", "/flavors", version="2.53")
    assert answer.headers["OpenStack-API-Version"] == "compute 2.53"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.53"
    assert demo("GET", "/flavors", version="2.105").status_code == 406


def test_extensions_are_what_is_served(demo: Client) -> None:
    aliases = [one["alias"] for one in demo.ok("GET", "/extensions")["extensions"]]
    assert {"os-keypairs", "os-evacuate", "os-migrate-server", "os-shelve"} <= set(aliases)
    assert demo.ok("GET", "/extensions/os-keypairs")["extension"]["name"] == "Keypairs"
    assert demo("GET", "/extensions/os-nope").status_code == 404
