"""`pileus top` on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess

from tests.support import BIN, CloudUnderTest


def test_it_is_watched_until_q_is_typed(cloud: CloudUnderTest) -> None:
    ours, theirs = pty.openpty()
    argv = [str(BIN / "pileus"), "top", "--every", "0.2", "--state", str(cloud.state)]
    environment = cloud.environment | {"TERM": "xterm", "COLUMNS": "160", "LINES": "50"}
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, env=environment) as watching:
        os.close(theirs)
        try:
            seen = b""
            while b"fake-3" not in seen:  # the test's own time limit is the client's
                seen += os.read(ours, 65536)
            os.write(ours, b"q")
            while True:
                try:
                    os.read(ours, 65536)
                except OSError:  # nobody is at the other end any more
                    break
            assert watching.wait(60) == 0
        finally:
            watching.kill()
            os.close(ours)
    assert b"3 hosts, 3 up" in seen
