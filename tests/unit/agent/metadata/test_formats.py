"""Nova's formats of instance data."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from pileus.agent.commands import GuestSpec
from pileus.agent.metadata import ec2, openstack, paths
from pileus.agent.metadata.network import network_data
from tests.unit.agent.specs import KEY, NETWORK, PORT, SERVER, guest, wiring


def get(path: str, of: GuestSpec | None = None) -> str | None:
    found = paths.document(of or guest(), path)
    return None if found is None else found[0].decode()


def get_json(path: str, of: GuestSpec | None = None) -> Any:
    text = get(path, of)
    assert text is not None
    return json.loads(text)


def test_meta_data() -> None:
    shown = get_json("/openstack/latest/meta_data.json")
    assert len(base64.b64decode(shown.pop("random_seed"))) == 512
    assert shown == {
        "uuid": SERVER,
        "hostname": "web-1",
        "name": "Web <1>",
        "launch_index": 0,
        "availability_zone": "nova",
        "project_id": "p",
        "meta": {"role": "web"},
        "public_keys": {"mykey": KEY},
        "keys": [{"name": "mykey", "type": "ssh", "data": KEY}],
        "devices": [],
        "dedicated_cpus": [],
    }


def test_the_seed_is_drawn_at_each_reading() -> None:
    readings = [get_json("/openstack/latest/meta_data.json")["random_seed"] for _ in range(3)]
    drive = json.loads(paths.config_drive(guest())["openstack/latest/meta_data.json"])["random_seed"]
    assert len({*readings, drive}) == 4


@pytest.mark.parametrize(
    ("version", "files", "key"),
    [
        ("2012-08-10", {"meta_data.json", "user_data"}, None),
        ("2013-04-04", {"meta_data.json", "user_data"}, "random_seed"),
        ("2013-10-17", {"meta_data.json", "user_data", "vendor_data.json"}, None),
        (
            "2015-10-15",
            {"meta_data.json", "user_data", "vendor_data.json", "network_data.json"},
            "project_id",
        ),
        ("2016-06-30", {"meta_data.json", "user_data", "vendor_data.json", "network_data.json"}, "devices"),
    ],
)
def test_what_a_version_shows(version: str, files: set[str], key: str | None) -> None:
    """A key is there from its version on, and not one version before."""
    assert set((get(f"/openstack/{version}/") or "").split()) == files
    if key:
        before = openstack.VERSIONS[openstack.VERSIONS.index(version) - 1]
        assert key in get_json(f"/openstack/{version}/meta_data.json")
        assert key not in get_json(f"/openstack/{before}/meta_data.json")


def test_without_key_metadata_and_user_data() -> None:
    bare = guest(
        data={
            "key_name": None,
            "public_key": None,
            "metadata": {},
            "user_data": None,
        }
    )
    shown = get_json("openstack/latest/meta_data.json", bare)
    assert not {"keys", "public_keys", "meta", "admin_pass"} & shown.keys()
    assert get("openstack/latest/user_data", bare) is None
    assert get("latest/user-data", bare) is None
    assert get("latest/meta-data/public-keys/", bare) is None


def test_password_is_on_the_drive_only() -> None:
    every = [*(f"openstack/{v}/meta_data.json" for v in openstack.VERSIONS), "latest/meta-data/"]
    assert not any("hunter2" in (get(path) or "") for path in every)
    assert b"hunter2" in paths.config_drive(guest())["openstack/latest/meta_data.json"]


def test_listings() -> None:
    assert (get("/openstack") or "").split() == [*openstack.VERSIONS, "latest"]
    assert (get("/") or "").split() == [*ec2.VERSIONS, "latest", "openstack/"]
    assert (get("/latest/") or "").split() == ["meta-data/", "user-data"]
    assert "placement/" in (get("/2009-04-04/meta-data") or "").split()
    assert "placement/" not in (get("/1.0/meta-data") or "").split()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostname", "web-1"),
        ("local-hostname", "web-1"),
        ("local-ipv4", "10.0.0.5"),
        ("public-ipv4", ""),
        ("public-keys/", "0=mykey"),
        ("public-keys/0/", "openssh-key"),
        ("public-keys/0/openssh-key", KEY),
        ("placement/availability-zone", "nova"),
        ("security-groups", "default"),
        ("ami-launch-index", "0"),
        ("block-device-mapping/root", "/dev/vda"),
        ("public-keys/_name", None),
        ("hostname/x", None),
        ("no-such-thing", None),
    ],
)
def test_ec2(path: str, value: str | None) -> None:
    assert get(f"/latest/meta-data/{path}") == value


def test_ec2_ids_are_stable_and_short() -> None:
    first = get("/latest/meta-data/instance-id") or ""
    assert first == get("/1.0/meta-data/instance-id")
    assert first.startswith("i-")
    assert len(first) == 10


@pytest.mark.parametrize("path", ["/openstack/1999-01-01/meta_data.json", "/openstack/latest/../x", "/etc/passwd"])
def test_unknown_paths(path: str) -> None:
    assert get(path) is None


def test_network_by_dhcp() -> None:
    shown = network_data([wiring()])
    assert shown["links"] == [
        {
            "id": f"tap{PORT[:11]}",
            "vif_id": PORT,
            "type": "ovs",
            "mtu": None,
            "ethernet_mac_address": "fa:16:3e:00:00:01",
        }
    ]
    v4, v6 = shown["networks"]
    assert v4 == {"id": "network0", "link": f"tap{PORT[:11]}", "type": "ipv4_dhcp", "network_id": NETWORK}
    assert (v6["id"], v6["type"], v6["ip_address"]) == ("network1", "ipv6_slaac", "fd00::5")
    assert shown["services"] == [{"type": "dns", "address": "9.9.9.9"}]


def test_static_network() -> None:
    shown = network_data([wiring(dhcp=False)])
    assert shown["links"][0]["mtu"] == 1400
    (network,) = shown["networks"]
    assert (network["type"], network["ip_address"], network["netmask"]) == (
        "ipv4",
        "10.0.0.5",
        "255.255.255.0",
    )
    assert network["routes"] == [
        {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1"},
        {"network": "10.9.0.0", "netmask": "255.255.0.0", "gateway": "10.0.0.2"},
    ]
