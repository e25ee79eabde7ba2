"""Secrets that were given on the command line, where every user of the machine can read them."""

from __future__ import annotations

import os
import sys


def move_to_environment(option: str, variable: str) -> None:
    """Begin this program anew with an option's value in the environment instead, which is its user's alone; at once, so
    that nobody has long to look."""
    kept, found, words = list[str](), "", iter(sys.argv[1:])
    for word in words:
        name, equals, value = word.partition("=")
        if name != option:
            kept.append(word)
        else:
            found = value if equals else next(words, "")
    if found:
        os.environ[variable] = found
        os.execv(sys.executable, [sys.executable, "-P", "-m", "pileus", *kept])  # noqa: S606  # ourselves


def take(variable: str) -> str:
    """What the environment has of it; from here on it has nothing, for whoever is started."""
    return os.environ.pop(variable, "")
