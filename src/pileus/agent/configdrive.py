"""The config drive: a guest's instance data on an ISO 9660 image labelled config-2 (nova user guide)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pycdlib

LABEL = "config-2"
_LEVEL = 4  # ISO 9660:1999: names of any case and length, for guests that read neither Rock Ridge nor Joliet


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (path on the drive -> content) as an image at `path`, readable by root alone.

    A drive that exists is replaced: a guest that has it open keeps the old one.
    """
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    image: Any = pycdlib.PyCdlib()
    image.new(interchange_level=_LEVEL, vol_ident=LABEL, joliet=3, rock_ridge="1.09", sys_ident="LINUX")
    try:
        made: set[PurePosixPath] = {PurePosixPath("/")}
        for name, content in sorted(files.items()):
            file = PurePosixPath("/", name)
            for parent in reversed(file.parents):
                if parent not in made:
                    image.add_directory(str(parent), rr_name=parent.name, joliet_path=str(parent))
                    made.add(parent)
            image.add_fp(io.BytesIO(content), len(content), str(file), rr_name=file.name, joliet_path=str(file))
        image.write(str(fresh))
    finally:
        image.close()
    fresh.replace(path)
