"""Requests that once made a server error, each with the answer that it gets, on every database."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pileus.api.bodies import LONGEST_QUERY, MOST_PARAMETERS
from tests.databases import Databases
from tests.fuzz.world import World, furnished

DEEP = 20_000
DIGITS = "9" * 5000
TOKENS = "/identity/v3/auth/tokens"
SERVERS = "/compute/v2.1/servers"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("hostile")
    with furnished(databases, folder) as world:
        yield world


def body(field: str) -> bytes:
    return f'{{"keypair": {{"name": {field}, "public_key": "x", "type": "ssh"}}}}'.encode()


ANONYMOUS: dict[str, tuple[str, str, bytes | None, int]] = {
    "deep list": ("POST", TOKENS, b"[" * DEEP + b"]" * DEEP, 400),
    "deep object": ("POST", TOKENS, b'{"auth":' * DEEP + b"1" + b"}" * DEEP, 400),
    "no UTF-8": ("POST", TOKENS, b'{"auth": "\xff"}', 400),
    "a key that is no UTF-8": ("POST", TOKENS, b'{"\xc3(": 1}', 400),
    "half a character": ("POST", TOKENS, b'{"auth": "\\ud800"}', 400),
    "thousands of digits": ("POST", TOKENS, f'{{"auth": {DIGITS}}}'.encode(), 400),
    "an unknown method": ("POST", TOKENS, b'{"auth": {"identity": {"methods": ["\\u00b2"]}}}', 401),
    "no project in scope": ("POST", TOKENS, b'{"auth": {"identity": {"methods": ["token"]}, "scope": {}}}', 400),
    "NUL": ("POST", TOKENS, b'{"auth": {"identity": {"methods": ["\\u0000"]}}}', 400),
    "NUL in the path": ("GET", "/identity/v3%00", None, 404),
    "another method of HTTP": ("\u00b2", TOKENS, None, 400),
}


@pytest.mark.parametrize("name", ANONYMOUS)
def test_without_a_token(world: World, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """Nor do they write the log."""
    method, path, sent, status = ANONYMOUS[name]
    answer = world.ask("nobody", method, path, sent)
    assert (answer.status, answer.crashed, caplog.records) == (status, None, []), answer.body
    assert len(answer.body) < 1000


MEMBERS: dict[str, tuple[str, str, Any, int]] = {
    "NUL in an id": ("GET", f"{SERVERS}/a%00b", None, 404),
    "NUL in a query": ("GET", f"{SERVERS}?name=a%00b", None, 400),
    "NUL in the name of a parameter": ("GET", f"{SERVERS}?a%00b=1", None, 400),
    "NUL in a body": ("POST", "/network/v2.0/networks", {"network": {"name": "a\0b"}}, 400),
    "a repetition that no automaton has": ("GET", f"{SERVERS}?name=a%7B99999999999%7D", None, 400),
    "1,100 tags": ("GET", f"{SERVERS}?tags={','.join(map(str, range(1100)))}", None, 200),
    "3,000 tags": ("GET", f"{SERVERS}?not-tags-any={','.join(map(str, range(3000)))}", None, 200),
    "40,000 tags": ("GET", f"{SERVERS}?not-tags-any={','.join(map(str, range(40_000)))}", None, 400),
    "many values": ("GET", f"{SERVERS}?{'&'.join(['status=active'] * (MOST_PARAMETERS + 1))}", None, 400),
    "as many as there may be": ("GET", f"{SERVERS}?{'&'.join(['status=active'] * MOST_PARAMETERS)}", None, 200),
    "a long query": ("GET", f"{SERVERS}?name={'a' * LONGEST_QUERY}", None, 400),
    "a number beyond 63 bits": ("GET", f"/network/v2.0/networks?mtu={2**63}", None, 400),
    "a superscript": ("GET", "/network/v2.0/networks?mtu=%C2%B2", None, 400),
    "a limit of thousands of digits": ("GET", f"{SERVERS}?limit={DIGITS}", None, 200),
    "a date before time": ("GET", f"{SERVERS}?changes-since=0001-01-01T00:00:00%2B14:00", None, 400),
    "the last date": ("GET", f"{SERVERS}?changes-before=9999-12-31T23:59:59", None, 200),
    "a name that is a number": ("POST", "/compute/v2.1/os-keypairs", body(DIGITS), 400),
    "a key of digits": ("PUT", "/compute/v2.1/servers/{server}/metadata", {"metadata": {"2147483648": []}}, 400),
    "1,100 of something": ("POST", "/image/v2/images", {"name": "i", "tags": list(map(str, range(1100)))}, 413),
    "parts of addresses": (
        "GET",
        f"/network/v2.0/ports?{'&'.join(['fixed_ips=ip_address_substr=1'] * 499)}",
        None,
        400,
    ),
    "many dates": ("GET", f"/image/v2/images?{'&'.join(['created_at=2020-01-01T00:00:00'] * 499)}", None, 400),
    "thousands at once": ("POST", "/network/v2.0/networks", {"networks": [{}] * 4000}, 400),
    "long properties": ("POST", "/image/v2/images", {f"p{n}": "v" * 7000 for n in range(100)}, 413),
    "more than a list holds": ("PUT", "/compute/v2.1/servers/{server}/tags", {"tags": ["a"] * 6000}, 400),
    "a minimum beyond 63 bits": ("POST", "/image/v2/images", {"name": "i", "min_disk": 2**63}, 400),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_with_a_token(world: World, name: str) -> None:
    method, path, sent, status = MEMBERS[name]
    answer = world.ask("member", method, path.format(server=world.known["servers"][0]), sent)
    assert (answer.status, answer.crashed) == (status, None), answer.body[:300]


@pytest.mark.parametrize(
    ("length", "status"),
    [
        ("107374182400", 413),
        (str(2**63), 400),
        (DIGITS, 400),
        ("-1", 400),
        ("\u00b2", 400),
        ("5, 5", 400),
        ("1e3", 400),
    ],
)
@pytest.mark.parametrize("who", ["nobody", "member"])
def test_a_length_that_nobody_reads_is_refused_at_once(world: World, who: str, length: str, status: int) -> None:
    """Whoever asks for whatever; nothing of the body is read."""
    for path in (TOKENS, SERVERS, "/network/v2.0/networks"):
        assert world.ask(who, "POST", path, b"{}", Content_Length=length).status == status, path
    assert world.ask(who, "GET", SERVERS, Content_Length=length).status == status


def test_an_image_larger_than_any_is_refused_at_once(world: World) -> None:
    image = world.make("member", "/image/v2/images", {"disk_format": "raw", "container_format": "bare"})["id"]
    path, binary = f"/image/v2/images/{image}/file", "application/octet-stream"
    for headers, status in (
        ({"Content_Length": str(2**50)}, 413),
        ({"Content_Length": str(2**63)}, 400),
        ({"X_OpenStack_Image_Size": str(2**63)}, 400),
        ({"X_OpenStack_Image_Size": DIGITS}, 400),
    ):
        answer = world.ask("member", "PUT", path, b"data", Content_Type=binary, **headers)
        assert answer.status == status, headers
    assert world.ask("member", "GET", f"/image/v2/images/{image}").json()["status"] == "queued"


def test_the_log_is_not_filled(world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """However long a statement was that failed."""
    with world.db.read() as session, pytest.raises(Exception, match="no_such_table") as raised:
        session.connection().exec_driver_sql(f"SELECT 1 FROM no_such_table WHERE 1 IN ({','.join(['1'] * 3000)})")
    logging.getLogger("pileus").error("failed", exc_info=raised.value)
    assert len(str(raised.value)) < 2000
    assert json.dumps(caplog.text) and len(caplog.text) < 30_000
