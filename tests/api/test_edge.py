"""Slow, silent and hostile clients of a live cloud, TLS, and what a proxy needs (docs/tls.md)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
import requests
from openstack.connection import Connection

from tests.api.compute import User
from tests.api.conftest import FAKE
from tests.support import CloudUnderTest, eventually

LOGIN = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


class Sockets:
    """Connections to a cloud that are closed with the test."""

    def __init__(self, cloud: CloudUnderTest) -> None:
        self._address = ("127.0.0.1", cloud.port)
        self._open: list[socket.socket] = []

    def __call__(self, sent: bytes = b"", receive_buffer: int | None = None) -> socket.socket:
        one = socket.socket()
        if receive_buffer:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        one.settimeout(20)
        one.connect(self._address)
        one.sendall(sent)
        self._open.append(one)
        return one

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def connect(cloud: CloudUnderTest) -> Iterator[Sockets]:
    sockets = Sockets(cloud)
    yield sockets
    sockets.close()


def test_slow_clients_stop_nobody(cloud: CloudUnderTest, admin: Connection, image: str, connect: Sockets) -> None:
    """Neither 64 that dribble a body, nor 300 that are silent, nor 16 that stall in a download."""
    big = admin.image.create_image(
        name="big", disk_format="raw", container_format="bare", data=bytes(16 * 1024 * 1024), wait=True
    )
    download = f"GET /image/v2/images/{big.id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {admin.auth_token}\r\n\r\n"
    for _ in range(64):
        connect(LOGIN + b"Content-Length: 1000\r\n\r\n{")
    for _ in range(300):
        connect()
    for _ in range(16):
        connect(download.encode(), receive_buffer=4096)
    for _ in range(20):
        assert cloud.connect("demo").authorize()
    admin.image.delete_image(big.id)


def test_a_body_that_is_too_long_is_refused_at_once(connect: Sockets, owner: User) -> None:
    head = f"POST /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {owner.token}\r\n"
    client = connect(head.encode() + b"Content-Type: application/json\r\nContent-Length: 100000000000\r\n\r\n{")
    with HTTPResponse(client, method="POST") as answer:
        answer.begin()
        assert answer.status == 413
        assert json.load(answer)["overLimit"]["code"] == 413


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "Content-Length: 5000"])
def test_an_upload_that_breaks_off_is_no_image(admin: Connection, connect: Sockets, framing: str) -> None:
    image = admin.image.create_image(name="broken", disk_format="raw", container_format="bare")
    head = (
        f"PUT /image/v2/images/{image.id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {admin.auth_token}\r\n"
        f"Content-Type: application/octet-stream\r\n{framing}\r\n\r\n"
    )
    client = connect(head.encode() + b"400\r\n" + bytes(1024) + b"\r\n")
    eventually(lambda: admin.image.get_image(image.id).status == "saving")
    client.close()
    eventually(lambda: admin.image.get_image(image.id).status == "queued")
    assert admin.image.get_image(image.id).size is None
    admin.image.delete_image(image.id)


def test_healthcheck(cloud: CloudUnderTest) -> None:
    answer = requests.get(f"http://127.0.0.1:{cloud.port}/healthcheck", timeout=10)
    assert (answer.status_code, answer.text) == (200, "OK")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nobody_says_for_others_who_they_are(cloud: CloudUnderTest) -> None:
    said = {"X-Forwarded-Host": "evil.example.org", "Forwarded": "host=evil.example.org", "X-Forwarded-Proto": "https"}
    answer = requests.get(f"http://127.0.0.1:{cloud.port}/identity", headers=said, timeout=10)
    assert "evil" not in answer.text and "https" not in answer.text


@pytest.fixture(scope="module")
def encrypted() -> Iterator[CloudUnderTest]:
    cloud = CloudUnderTest(None, *FAKE, "--tls-self-signed", "--trusted-proxy", "127.0.0.1")
    cloud.up()
    yield cloud
    cloud.remove()


def test_clients_find_everything_by_tls(encrypted: CloudUnderTest) -> None:
    assert encrypted.credentials("admin")["OS_AUTH_URL"].startswith("https://")
    assert [one["Name"] for one in encrypted.openstack("image", "list")] == []
    assert encrypted.openstack("network", "list")[0]["Name"] == "public"


def test_the_certificate_is_the_clouds_own(encrypted: CloudUnderTest) -> None:
    url = f"https://127.0.0.1:{encrypted.port}/identity"
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=10)
    answer = requests.get(url, verify=encrypted.credentials("admin")["OS_CACERT"], timeout=10)
    assert answer.headers["Strict-Transport-Security"]
    assert (encrypted.state / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600


def test_a_trusted_proxy_says_how_it_was_asked(encrypted: CloudUnderTest) -> None:
    said: dict[str, Any] = {"X-Forwarded-Host": "cloud.example.org", "X-Forwarded-Proto": "https"}
    url, trusted = f"https://127.0.0.1:{encrypted.port}/identity", encrypted.credentials("admin")["OS_CACERT"]
    found = requests.get(url, headers=said, verify=trusted, timeout=10).json()
    assert found["versions"]["values"][0]["links"][0]["href"].startswith("https://cloud.example.org/")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trusted-proxy", "proxy"), "proxy"),
        (("--tls-cert", "/nonexistent"), "--tls-key"),
        (("--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"), "No such file"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(options: tuple[str, ...], said: str) -> None:
    cloud = CloudUnderTest(None, *FAKE, *options)
    try:
        with pytest.raises(AssertionError, match=said):
            cloud.up()
    finally:
        cloud.remove()
