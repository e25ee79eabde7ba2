"""qemu-img, under limits, as an unprivileged user, on files that it is handed open: it looks up no name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from pileus.agent.account import Account
from pileus.agent.daemons import run

_ADDRESS_SPACE_BYTES = 1 << 30
_OPEN_FILES = 128


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one run may use.

    `cpu_s`: processor seconds, as a crafted source may make it compute for ever. `timeout_s`: seconds. `file_bytes`:
    how long the target may become.
    """

    cpu_s: int
    timeout_s: float
    file_bytes: int


def convert(
    source: BinaryIO,
    driver: str,
    target: BinaryIO,
    target_driver: str,
    limits: Limits,
    *,
    account: Account | None,
    backing: BinaryIO | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Copy a disk from one format into another, down to the host's disk.

    Args:
        source: the file; `account` must be allowed to read it.
        driver: QEMU's name of the source's format, never guessed from what is in it; so `target_driver`.
        target: empty file; `account` must be allowed to write it.
        account: who does it; we ourselves if None.
        backing: raw disk that stands behind the source. What the source says stands behind it is ignored.
        meanwhile: called a few times a second; what it raises ends the program.

    Raises:
        CommandFailed: "program"; what it says is for the log, as it names paths of the host.
    """
    behind = _node("raw", backing) if backing else None
    opened = json.dumps({**_node(driver, source), "backing": behind})
    argv = ["qemu-img", "convert", "-O", target_driver, f"json:{opened}", _path(target)]
    # Else each of its threads reserves 64 MiB of addresses to allocate from, and the limit is hit at random.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "MALLOC_ARENA_MAX": "1"}
    files = [file.fileno() for file in (source, target, backing) if file]
    run(
        *_limited(limits), *(account.command if account else ()), *argv,
        timeout_s=limits.timeout_s, env=environment, meanwhile=meanwhile, files=files,
    )  # fmt: skip
    os.fsync(target.fileno())


def create(path: Path, size_bytes: int) -> None:
    """A new qcow2 disk that was never written, in a folder that only we can write to."""
    run("qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size_bytes))


def _limited(limits: Limits) -> list[str]:
    bounds = {"as": _ADDRESS_SPACE_BYTES, "cpu": limits.cpu_s, "fsize": limits.file_bytes, "nofile": _OPEN_FILES}
    return ["prlimit", *(f"--{name}={value}" for name, value in bounds.items()), "--core=0", "--"]


def _node(driver: str, file: BinaryIO) -> dict[str, object]:
    return {"driver": driver, "file": {"driver": "file", "filename": _path(file)}}


def _path(file: BinaryIO) -> str:
    """By this a program opens a file that it was handed, whatever folders it may not enter."""
    return f"/proc/self/fd/{file.fileno()}"
