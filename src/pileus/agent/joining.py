"""A machine joins a cloud: it asks for a certificate, and shows with a join token that it may (`jointoken`)."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from pileus import clock, jointoken
from pileus.addresses import host_port
from pileus.agent.commands import Certificate
from pileus.agent.errors import CommandFailed
from pileus.agent.papers import PapersFolder
from pileus.files import write_private
from pileus.jointoken import Admission, Application
from pileus.logs import printable
from pileus.sockets import ended_after

TIMEOUT_S = 30.0
ANSWER_BYTES = 65536
SHOWN_CHARS = 300
"""Of what somebody says who has not shown yet that it knows the token."""
PATH = "/membership/v1/agents"


def own_address(url: str) -> str:
    """The address of this machine that reaches a cloud.

    Raises:
        CommandFailed: "join": it does not, or that is no URL.
    """
    with _connected(url) as plain:
        return str(plain.getsockname()[0])


def join(state: Path, url: str, token: str, name: str, listen: tuple[str, int], simulates: bool) -> str:
    """Become a host of the cloud behind a URL, or tell it where the host is found now.

    Args:
        state: the agent's folder. listen: where it will await replicas.
        simulates: its hosts are not real, and there may be several.

    Returns:
        Where OVN's central is; "" if the cloud has none for other hosts.

    Raises:
        CommandFailed: "join": the cloud is not there, or says why not.
    """
    try:
        known = jointoken.parse(token)
    except ValueError as error:
        raise CommandFailed("join", str(error)) from error
    papers = PapersFolder(state / "papers")
    host, port = listen
    said = Application(
        token=known.id,
        name=name,
        simulates=simulates,
        address=host_port(host, port),
        request=papers.request_to_join(),
        at=int(clock.time()),
    )
    answer = _post(url, said.sealed_with(known.key))
    if not answer.is_sealed_with(known.key, said):
        raise CommandFailed("join", f"the answer of {url} is not by who issued the token")
    papers.take(Certificate(certificate=answer.certificate, authority=answer.authority))
    write_private(state / "cloud", answer.cloud.encode())
    return answer.southbound


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CommandFailed("join", f"--join wants the URL of a cloud, not {url!r}")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return socket.create_connection((parts.hostname, port), TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise CommandFailed("join", f"{url} cannot be reached: {error}") from error


def _post(url: str, said: Application) -> Admission:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    began = clock.monotonic()
    try:
        connection.sock = _connected(url)
        if parts.scheme == "https":
            connection.sock = _unverified().wrap_socket(connection.sock, server_hostname=parts.hostname)
        with ended_after(began + TIMEOUT_S - clock.monotonic(), connection.sock):
            body = msgspec.json.encode({"agent": said})
            connection.request("POST", PATH, body, {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                text = response.read(ANSWER_BYTES)  # what is longer is cut, and then not understood
        if response.status == 201:
            return msgspec.json.decode(text, type=dict[str, Admission])["agent"]
        answer = msgspec.json.decode(text, type=dict[str, dict[str, str | int]])["error"]["message"]
    except (OSError, http.client.HTTPException, msgspec.MsgspecError, KeyError) as error:
        raise CommandFailed(
            "join", f"{url} does not answer as a cloud: {printable(str(error), SHOWN_CHARS)}"
        ) from error
    finally:
        connection.close()
    raise CommandFailed("join", f"{url} refuses: {printable(str(answer), SHOWN_CHARS)}")


def _unverified() -> ssl.SSLContext:
    """Whose certificate it is does not matter: what is said is sealed both ways."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
