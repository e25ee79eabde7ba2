"""The `openstack` command, whose modules cost more to import than most commands to run: imported once, here.

A line of JSON asks for a command; it runs in a process of its own, forked from this one, whose exit code is the answer.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Any

from openstackclient import shell


def serve() -> None:
    """Answer until the asker is gone."""
    known = importlib.metadata.entry_points()
    for group in known.groups:
        for entry in known.select(group=group) if group.startswith("openstack.") else ():
            with suppress(ImportError):
                entry.load()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(_run(**asked))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(argv: list[str], environment: dict[str, str], out: str, error: str, timeout_s: int) -> Any:
    """Be the command; its output goes to two files."""
    signal.alarm(timeout_s)
    for descriptor, path in enumerate((os.devnull, out, error)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["openstack", *argv]
    try:
        return shell.main(argv)
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve()
