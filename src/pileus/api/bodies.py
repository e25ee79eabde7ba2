"""Bodies and queries of requests: how long they may be, how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import falcon
import msgspec

from pileus.errors import Invalid, TooLarge, Unsupported
from pileus.jsontypes import Json, Values

LONGEST_QUERY = 16 * 1024
"""Characters, percent-encoded: twice what clients keep to, who split lists of ids over several requests."""
MOST_PARAMETERS = 500
"""In a query: each becomes a part of one SQL expression, which SQLite takes 1,000 deep."""

MOST_AT_ONCE = 500
"""Things that one request makes: others wait meanwhile, as on SQLite nobody else writes."""


def read_json(request: falcon.Request, limit: int) -> bytes:
    """The body of a request that sends JSON.

    Raises:
        TooLarge: over `limit` bytes. Unsupported: another content type.
    """
    require_length(request, limit)
    if request.content_type and "json" not in request.content_type:
        raise Unsupported(f"Unsupported Content-Type {request.content_type}; use application/json.")
    raw = (request.stream if announced(request) is None else request.bounded_stream).read(limit + 1)
    if len(raw) > limit:
        raise TooLarge(f"Request is too large: more than {limit} bytes.")
    return raw


def parse_json(raw: bytes) -> Values | list[Json]:
    """What a body says.

    Raises:
        Invalid: not JSON, or not an object.
    """
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, thousands of digits
        raise Invalid(f"Malformed JSON in request body: {error}") from None
    if not isinstance(body, dict | list):
        raise Invalid("The request body must be a JSON object.")
    if b"\\u0000" in raw:
        require_no_nul(body)
    return body


def read_query(text: str) -> dict[str, list[str]]:
    """The parameters of a query, each with its values in order.

    Raises:
        Invalid: it is too long, has too many parameters, or a NUL.
    """
    if len(text) > LONGEST_QUERY:
        raise Invalid(f"Invalid query: it is longer than {LONGEST_QUERY} characters.")
    try:
        query = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise Invalid(f"Invalid query: it has more than {MOST_PARAMETERS} parameters.") from None
    require_no_nul(query)
    return query


def require_few(name: str, bodies: list[Any]) -> None:
    """Raises Invalid: a body is to make more things at once than it may."""
    if len(bodies) > MOST_AT_ONCE:
        raise Invalid(f"A request makes at most {MOST_AT_ONCE} {name}, not {len(bodies)}.")


def require_no_nul(body: Json) -> None:
    """Raises Invalid: a parsed body or query has a NUL, which neither our databases nor OVN's can keep."""
    if (where := _nul(body, ())) is not None:
        raise Invalid(f"Invalid input for field/attribute {'.'.join(where)}. It holds a NUL character.")


def announced(request: falcon.Request) -> int | None:
    """The length of the body that a request announces, bytes; None if it does not.

    Raises:
        Invalid: that is no length (RFC 9110, 8.6).
    """
    text = (request.env.get("CONTENT_LENGTH") or "").strip()
    return byte_count("Content-Length", text) if text else None


def byte_count(name: str, text: str) -> int:
    """The number of bytes that a header gives.

    Raises:
        Invalid: it gives none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Invalid(f"Invalid {name}: {text[:40]} is not a number of bytes.")
    return int(text)


def require_length(request: falcon.Request, limit: int) -> None:
    """Refuse a body that announces more than anybody reads, before anything is read or asked.

    Raises:
        TooLarge: more than `limit` bytes. Invalid: see `announced`.
    """
    if (announced(request) or 0) > limit:
        raise TooLarge(f"Request is too large: more than {limit} bytes.")


def _nul(value: Json, path: tuple[str, ...]) -> tuple[str, ...] | None:
    """Where a parsed body has a NUL, if it has one."""
    inner: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, str):
        return path if "\0" in value else None
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    for name, one in inner:
        if "\0" in str(name):
            return path
        if (found := _nul(one, (*path, str(name)))) is not None:
            return found
    return None
