"""Between ASGI and WSGI (PEP 3333)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import IO, Any, NamedTuple
from urllib.parse import unquote_to_bytes
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from uvicorn._types import HTTPScope

from pileus.edge.forwarding import Headers

NOT_PASSED_ON = {b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect"}
"""They are between the client and us (RFC 9110, 7.6.1)."""


class Answer(NamedTuple):
    """What the application said: all of the body, or the pieces it comes in."""

    status: int
    headers: Headers
    body: bytes
    pieces: Iterator[bytes] | None


def environ(scope: HTTPScope, client: str, headers: Headers, body: IO[bytes] | Any) -> WSGIEnvironment:
    """A request as WSGI has it.

    Args:
        client: who it came from, as clients are counted. headers: those that count. body: to be read from.
    """
    host, port = scope["server"] or ("", None)
    found: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        "SERVER_PORT": str(port or ""),
        "REMOTE_ADDR": client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in headers:
        if key := _key(name):
            text = value.decode("latin-1")
            found[key] = f"{found[key]},{text}" if key in found else text
    return found


@lru_cache(1024)
def _key(name: bytes) -> str | None:
    """WSGI's name of a header; None for one that is not passed on.

    A name with an underscore could pass for another one, X_Auth_Token for X-Auth-Token.
    """
    if name in NOT_PASSED_ON or b"_" in name:
        return None
    key = name.decode("latin-1").upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"


def ask(application: WSGIApplication, request: WSGIEnvironment) -> Answer:
    """Have the application answer."""
    said: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _error: object = None, /) -> Any:
        said[:] = [int(status[:3]), [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]]

    started: StartResponse = start
    body: Iterable[bytes] = application(request, started)
    status, headers = said
    if isinstance(body, list):
        return Answer(status, headers, b"".join(body), None)
    return Answer(status, headers, b"", iter(body))
