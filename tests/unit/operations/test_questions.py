"""Questions to agents: one that hangs, or answers nonsense, costs the others nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pileus.certificates import AGENT, Identity
from pileus.errors import Unavailable
from pileus.operations import questions as module
from pileus.operations.questions import OF_ONE, QUESTIONS, Questions, ask
from pileus.operations.wires import Local, Remote, Way
from tests.members import Cloud
from tests.unit.operations.machine import CLOUD, NAME, liar


def test_an_agent_that_hangs_keeps_few_requests(tmp_path: Path) -> None:
    """Others are told at once that they wait for nothing."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as agent, ThreadPoolExecutor(QUESTIONS) as clients:
        agent.bind(str(path))
        agent.listen(QUESTIONS)
        cloud = Cloud("cloud")
        cloud.add(NAME, Local(path))
        questions = Questions(cloud)
        asked = [clients.submit(questions.ask, "/console", host="h") for _ in range(QUESTIONS)]
        heard = [agent.accept()[0] for _ in range(QUESTIONS)]
        with pytest.raises(Unavailable, match="try again"):
            questions.tell("/password", host="h")
        for one in heard:
            one.close()
        assert all(isinstance(one.exception(20), Unavailable) for one in asked)


def test_an_agent_elsewhere_that_hangs_keeps_questions_to_others_possible(tmp_path: Path) -> None:
    ways: dict[str, Way] = {}

    class Two(Cloud):
        def way_to(self, host: str) -> Way:
            return ways[host]

    cloud = Two("cloud")
    answers = [b'{"output": "login: "}']
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ThreadPoolExecutor(OF_ONE) as clients,
        liar(tmp_path / "s", lambda path: answers) as honest,
    ):
        hanging = Remote("127.0.0.1", silent.getsockname()[1], Identity("cloud", AGENT, "a"), cloud.replica())
        ways |= {"one": hanging, "two": hanging, "other": honest}
        questions = Questions(cloud)
        asked = [clients.submit(questions.ask, "/console", host=host) for host in ("one", "two")]
        heard = [silent.accept()[0] for _ in range(OF_ONE)]
        with pytest.raises(Unavailable, match="try again"):
            questions.ask("/console", host="two")
        for _ in range(2 * QUESTIONS):
            assert questions.ask("/console", host="other") == {"output": "login: "}
        for one in heard:
            one.close()
        assert all(isinstance(one.exception(20), Unavailable) for one in asked)


def test_an_answer_that_drips_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    stopped = threading.Event()

    def drip(path: str) -> Iterator[bytes]:
        yield b"{"
        for _ in range(100):
            stopped.wait(0.05)
            yield b" "
        yield b"}"

    with liar(tmp_path / "s", drip) as way, pytest.raises(Unavailable):
        ask(way, "/console", CLOUD, host="h")
    stopped.set()


@pytest.mark.parametrize("answer", [b"{" + b" " * 65536 + b"}", b"{", b"[]", b'{"a": "\xff"}'])
def test_an_answer_that_cannot_be_is_none(tmp_path: Path, answer: bytes) -> None:
    with liar(tmp_path / "s", lambda path: [answer]) as way, pytest.raises(Unavailable):
        ask(way, "/password", CLOUD, {"host": "h"})


def test_nobody_is_where_nobody_can_be() -> None:
    with pytest.raises(Unavailable):
        ask(Remote("a..b", 7000, Identity("c", AGENT, "a"), Cloud("c").replica()), "/console", "c", host="h")
