"""One turn at a time, among threads and processes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pileus.db.turnstile import Turnstile

TURNS, THREADS, PROCESSES = 50, 2, 3


def test_turns_are_taken_one_at_a_time(tmp_path: Path) -> None:
    """Each turn reads a number and writes the next: none is lost."""
    counter = tmp_path / "counter"
    counter.write_text("0")

    def count(turnstile: Turnstile) -> None:
        for _ in range(TURNS):
            with turnstile.turn():
                counter.write_text(str(int(counter.read_text()) + 1))

    def process() -> None:
        turnstile = Turnstile(tmp_path / "database")
        threads = [threading.Thread(target=count, args=(turnstile,)) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        turnstile.close()

    children = []
    for _ in range(PROCESSES):
        if (child := os.fork()) == 0:
            process()
            os._exit(0)
        children.append(child)
    assert all(os.waitpid(child, 0)[1] == 0 for child in children)
    assert int(counter.read_text()) == TURNS * THREADS * PROCESSES


def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    """One that was killed keeps nobody waiting."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        with Turnstile(tmp_path / "database").turn():
            os.write(writer, b"mine")
            threading.Event().wait()
    assert os.read(reader, 4) == b"mine"
    os.kill(child, 9)
    os.waitpid(child, 0)
    for end in (reader, writer):
        os.close(end)
    turnstile = Turnstile(tmp_path / "database")
    with turnstile.turn():
        pass
    turnstile.close()


def test_a_turn_that_fails_is_over() -> None:
    turnstile = Turnstile(None)
    for _ in range(2):
        try:
            with turnstile.turn():
                raise ValueError
        except ValueError:
            pass
