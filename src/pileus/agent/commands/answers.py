"""What an agent says: how commands ended, and what its guests did by themselves."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from pileus.agent.commands.base import Count, Instant, Spec, State, Word


class Event(Spec, frozen=True, kw_only=True):
    """A timed stage inside a command."""

    name: Word
    started: Instant
    finished: Instant
    outcome: Word = "finished"
    detail: dict[str, Any] = {}


CODE_CHARS, MESSAGE_CHARS = 64, 1000
"""Of why a command failed, at most about: more than any of ours has, and little of what a feed or a fault may have."""


class Failure(Spec, frozen=True, kw_only=True):
    """Why a command failed. `code` is stable, `message` is for people and may be shown to the server's owner.

    Codes of the contract itself: unsupported (the agent does not know the command), deadline, abandoned (a later
    command took it back), stale (a newer incarnation is or was there), journal (the agent cannot write), internal,
    host-down (said by the control plane).
    """

    code: str
    message: str


class Answer(Spec, frozen=True, kw_only=True):
    """The outcome of a command, recorded under its key before it is given."""

    key: Word
    host: Word
    result: dict[str, Any] = {}
    failure: Failure | None = None
    events: tuple[Event, ...] = ()
    at: Instant = 0.0
    """When the command ended, by the agent's clock; guest events after it are news."""


class SnapshotMade(Spec, frozen=True, kw_only=True):
    """The result of SnapshotGuest: of the file that was made; sizes in bytes."""

    size: Annotated[int, Meta(ge=1, le=2**62)]
    virtual_size: Count
    checksum: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    """MD5."""
    sha512: Annotated[str, Meta(pattern=r"\A[0-9a-f]{128}\Z")]


class Progress(Spec, frozen=True, kw_only=True):
    """How far a long stage of a command under way is."""

    key: Word
    stage: Word
    done: Count
    total: Count
    """Both in bytes."""


class GuestEvent(Spec, frozen=True, kw_only=True):
    """A guest changed state outside of any command: started, stopped, crashed..."""

    server_id: Word
    host: Word
    power_state: State
    at: Instant


MOST_ENTRY_BYTES, MOST_FEED_BYTES = 1 << 20, 16 << 20
"""Of one entry of an agent's feed, and of what it answers at a time: what a replica reads becomes rows, and several
times as much memory."""


class FeedEntry(Spec, frozen=True, kw_only=True):
    """One entry of the agent's feed, read in order by sequence number."""

    sequence: int
    answer: Answer | None = None
    guest: GuestEvent | None = None
    progress: Progress | None = None
