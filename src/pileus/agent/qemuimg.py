"""qemu-img, under limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from pileus.agent.daemons import run

_ADDRESS_SPACE_BYTES = 1 << 30


def convert(
    source: Path,
    driver: str,
    target: Path,
    target_driver: str,
    *,
    cpu_s: int,
    timeout_s: float,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """Copy a disk from one format into another, down to the host's disk. What stands behind the source is copied, too.

    Args:
        driver: QEMU's name of the source's format, never guessed from what is in it; so `target_driver`.
        cpu_s: processor seconds that it may use: a crafted source may make it compute for ever.
        timeout_s: seconds that it may take.
        meanwhile: called a few times a second; what it raises ends the program.

    Raises:
        CommandFailed: "program"; what it says is for the log, as it names paths of the host.
    """
    limited = ["prlimit", f"--as={_ADDRESS_SPACE_BYTES}", f"--cpu={cpu_s}", "--core=0", "--"]
    # Else each of its threads reserves 64 MiB of addresses to allocate from, and the limit is hit at random.
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}
    argv = ["qemu-img", "convert", "-f", driver, "-O", target_driver, f"file:{source}", str(target)]
    run(*limited, *argv, timeout_s=timeout_s, env=environment, meanwhile=meanwhile)
    with open(target, "rb+") as converted:
        os.fsync(converted.fileno())
