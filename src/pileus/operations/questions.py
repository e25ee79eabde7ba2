"""What agents are asked or told while somebody waits for the answer: that which no journal keeps."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec

from pileus import clock
from pileus.agent.commands import CLOUD_HEADER
from pileus.errors import Conflict, Unavailable
from pileus.jsontypes import Json, Values
from pileus.operations.agents import Members
from pileus.operations.post import Refused
from pileus.operations.wires import Question, Way, most_bytes
from pileus.settings import REQUEST_THREADS
from pileus.sockets import ended_after

QUESTIONS = REQUEST_THREADS * 3 // 8
"""Asked at a time: with those who wait for passwords they leave threads for other requests."""
OF_ONE = QUESTIONS // 3
"""Of these, of one agent on another machine."""
ANSWER_S = 10.0


class Questions:
    """Asks hosts' agents what no journal keeps; see `ask`. A few at a time, and fewer of one agent elsewhere: each
    keeps a request's thread while the agent thinks; one that hangs must not keep those of all requests or hosts."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        """How many questions each agent thinks about."""

    def ask(self, question: str, host: str, **query: Json) -> Values:
        """What a host's agent answers to GET `question`; raises as the function `ask`, Unavailable also if many ask."""
        with self._place(host) as way:
            return ask(way, question, self._members.cloud(), host=host, **query)

    def tell(self, question: str, host: str, **body: Json) -> Values:
        """What it answers to POST; raises as `ask`."""
        with self._place(host) as way:
            return ask(way, question, self._members.cloud(), {"host": host, **body})

    @contextmanager
    def _place(self, host: str) -> Iterator[Way]:
        way = self._members.way_to(host)
        with self._lock:
            if self._asked.total() >= QUESTIONS or (way.name and self._asked[way.name] >= OF_ONE):
                raise Unavailable("Too many questions are being asked of hosts at the moment; try again.")
            self._asked[way.name] += 1
        try:
            yield way
        finally:
            with self._lock:
                self._asked -= Counter([way.name])  # and forget who is asked nothing


def ask(way: Way, question: str, cloud: str, told: Mapping[str, Json] | None = None, /, **query: Json) -> Values:
    """What an agent answers to GET `question`, or to POST of what it is told.

    Raises:
        Unavailable: the agent does not answer. Conflict: it says why it has no answer.
    """
    connection = Question(way, ANSWER_S)
    began = clock.monotonic()
    try:
        connection.connect()
        with ended_after(began + ANSWER_S - clock.monotonic(), connection.sock):
            if told is None:
                connection.request("GET", f"{question}?{urlencode(query)}", headers={CLOUD_HEADER: cloud})
            else:
                connection.request("POST", question, msgspec.json.encode(told), headers={CLOUD_HEADER: cloud})
            response = connection.getresponse()
            content = response.read(most_bytes(question) + 1)
        if len(content) > most_bytes(question):
            raise Refused("its answer is too long")
        body = msgspec.json.decode(content, type=dict[str, Any] | None) or {}
    # ValueError: where it says that it is found there can be nobody.
    except (OSError, ValueError, http.client.HTTPException, msgspec.MsgspecError, Refused) as error:
        raise Unavailable("The agent does not answer.") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Conflict(str(body.get("message")))
    return body
