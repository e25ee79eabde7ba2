"""The log: one file that all processes of a cloud append to, of lines that nobody outside can forge, swell or repeat.

What a request brings with it is in many messages. So a message is one line, what is not printable is escaped, its
length is bounded, and a traceback that is logged again and again is shown a few times only (CWE-117, CWE-779).
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

MESSAGE_CHARS = 2000
TRACEBACK_CHARS = 12000
SAME_TRACEBACKS = 5
"""How often the traceback of one place in the program is shown within SAME_S seconds."""
SAME_S = 60.0
_PLACES = 1000
_CHUNK_BYTES = 1 << 20


class Lines(logging.Formatter):
    """Formats a record as one line, and a traceback as lines that no record begins like."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        self._shown: dict[str, tuple[float, int]] = {}

    def format(self, record: logging.LogRecord) -> str:
        try:
            record.message = printable(record.getMessage(), MESSAGE_CHARS)
        except Exception as error:  # arguments that do not fit the message: a defect, and no reason to lose the line
            record.message = printable(f"{record.msg!r} ({error})", MESSAGE_CHARS)
        record.asctime = self.formatTime(record, self.datefmt)
        line = self.formatMessage(record)
        if not record.exc_info or record.exc_info[1] is None:
            return line
        raised = record.exc_info[1]
        if not self._is_news(raised):
            return f"{line} [{type(raised).__name__}: {printable(str(raised), 200)}; traceback as before]"
        text = cut(self.formatException(record.exc_info), TRACEBACK_CHARS)
        return "\n".join([line, *(f"  | {printable(part, MESSAGE_CHARS)}" for part in text.splitlines())])

    def _is_news(self, error: BaseException) -> bool:
        """Whether the place where an error was raised has not been shown too often of late."""
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = f"{type(error).__name__} {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else ""
        now = time.monotonic()
        since, count = self._shown.get(place, (now, 0))
        if now - since > SAME_S:
            since, count = now, 0
        if len(self._shown) >= _PLACES:
            self._shown.clear()
        self._shown[place] = since, count + 1
        return count < SAME_TRACEBACKS


class Appender(logging.Handler):
    """Appends each record to a descriptor in one write, so that processes that share it do not mix their lines."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.setFormatter(Lines())

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # a full disk must not end what is being logged
            os.write(self._descriptor, (self.format(record) + "\n").encode("utf-8", "backslashreplace"))


def printable(text: str, most: int) -> str:
    """A text in at most about `most` characters of one line: what is not printable is escaped, as in a literal."""
    text = cut(text, most)
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def cut(text: str, most: int) -> str:
    """The beginning and the end of a text that is longer than `most` characters."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]} ...({len(text) - 2 * half} characters)... {text[-half:]}"


def start(path: Path, detached: bool) -> None:
    """Log to a file; in the background, whatever else is printed goes there too.

    The file is opened once, before any process becomes another user who could not open it; it is never reopened.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    os.fchmod(descriptor, 0o600)
    logging.basicConfig(handlers=[Appender(descriptor)], level=logging.INFO, force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if detached:
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for source, target in ((null, 0), (descriptor, 1), (descriptor, 2)):
            os.dup2(source, target)


def rotate(path: Path, most_bytes: int, keep: int) -> bool:
    """Begin a new log if it is over `most_bytes`: PATH.1 is the newest of `keep` older ones.

    The file is copied and emptied, as its writers have it open and may not open another; only one process may call
    this. A line that is written between the two is lost.

    Returns:
        Whether it was.
    """
    try:
        if path.stat().st_size <= most_bytes:
            return False
        older = [path.with_name(f"{path.name}.{number}") for number in range(1, keep + 1)]
        fresh = path.with_name(f"{path.name}.new")
        with open(path, "rb+") as log:
            if older:
                _copy(log.fileno(), fresh)  # before an older one goes: it may be the disk that is full
            for newer, next_one in zip(reversed(older[:-1]), reversed(older[1:]), strict=True):
                if newer.exists():
                    newer.replace(next_one)
            if older:
                fresh.replace(older[0])
            log.truncate(0)
    except OSError as error:
        logging.getLogger(__name__).error("the log cannot be rotated: %s", error)
        return False
    return True


def _copy(log: int, target: Path) -> None:
    """Copy all of an open file; what cannot be copied whole is not there."""
    target.unlink(missing_ok=True)
    try:
        with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as copy:
            while chunk := os.read(log, _CHUNK_BYTES):
                copy.write(chunk)
    except OSError:
        target.unlink(missing_ok=True)
        raise
