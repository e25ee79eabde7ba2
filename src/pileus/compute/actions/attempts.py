"""One host after the other is tried, until one can do what is wanted."""

from __future__ import annotations

from collections.abc import Callable

from pileus.jsontypes import Values
from pileus.operations import CommandError, Operation
from pileus.operations.steps import Diverged


class Final(CommandError):
    """A failure that no other host would be spared."""


def on_some_host(
    op: Operation,
    attempts: int,
    place: Callable[[list[str]], Values],
    use: Callable[[Values], Values],
    leave: Callable[[], bool],
    what: str,
) -> Values:
    """Try hosts, one after the other, until one can do it.

    Args:
        attempts: how many hosts at most.
        place: the step that chooses a host, none of those that failed.
        use: does it there, given what `place` gave; what it did is undone when it fails.
        leave: then gives the host up; False: nothing more is to be tried.
        what: is done, for the failure: "Building".

    Returns:
        What `use` gave.

    Raises:
        CommandError: there is no host, or none could; it names each with its reason. Final, from `use`.
    """
    excluded: list[str] = []
    reasons: list[str] = []
    for _ in range(attempts):
        try:
            placed = place(list(excluded))
        except Diverged:
            raise
        except CommandError as error:
            raise CommandError(error.code, " ".join([*reasons, error.message])) from error
        try:
            with op.undoing():
                return use(placed)
        except (Diverged, Final):
            raise
        except CommandError as error:
            excluded.append(placed["host"])
            reasons.append(f"Host {placed['host']}: {error.message.rstrip('.')}.")
            if not leave():
                break
    raise CommandError("hosts-failed", f"{what} failed on {len(reasons)} hosts. {' '.join(reasons)}")
