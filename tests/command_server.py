"""Commands whose modules cost more to import than most of their verbs to run: imported once, here.

`python -m tests.command_server openstack|pileus`: a line of JSON asks for a command; it runs in a process of its own,
forked from this one, whose exit code is the answer.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def openstack() -> Callable[[], Any]:
    """The client, with all its plugins."""
    from openstackclient import shell

    known = importlib.metadata.entry_points()
    for group in known.groups:
        for entry in known.select(group=group) if group.startswith("openstack.") else ():
            with suppress(ImportError):
                entry.load()
    return lambda: shell.main(sys.argv[1:])


def pileus() -> Callable[[], Any]:
    """The cloud's own verbs."""
    from pileus import cli, supervisor  # noqa: F401  # what most verbs import when they run

    return cli.main


def serve(program: str) -> None:
    """Answer until the asker is gone."""
    main = {"openstack": openstack, "pileus": pileus}[program]()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os._exit(_run(program, main, **asked))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(
    program: str,
    main: Callable[[], Any],
    argv: list[str],
    environment: dict[str, str],
    out: str,
    error: str,
    timeout_s: int,
) -> int:
    """Be the command; its output goes to two files."""
    signal.alarm(timeout_s)
    for descriptor, path in enumerate((os.devnull, out, error)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [program, *argv]
    try:
        sys.exit(main())
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
