"""The boards that this process remembers: one a database, which the passes of its threads use in turn."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from weakref import WeakKeyDictionary

from sqlalchemy import Pool

from pileus.compute.scheduler import hosts
from pileus.compute.scheduler.board import Board, Touched
from pileus.db import Session


class _Remembered:
    """A board, and who may look at it or change it."""

    def __init__(self) -> None:
        self.board, self.turn = Board(), threading.Lock()
        self.newest: datetime | None = None
        """When the newest provider was made; another may have taken the place of one that is gone."""


_remembered: WeakKeyDictionary[Pool, _Remembered] = WeakKeyDictionary()
"""By the connections: when they are disposed of, who knows what the next ones lead to."""
_guard = threading.Lock()


@contextmanager
def current(session: Session, hinted: Collection[str]) -> Iterator[tuple[Board, Touched]]:
    """The board as this transaction's database has it, to choose and claim on until the block ends.

    Call it under the lock of placement, so that nobody else claims until this transaction ends.

    Args:
        hinted: ids of servers that hints name.
    """
    mine, touched = _of(session), Touched()
    with mine.turn:
        count, total, newest = hosts.summed(session)
        if newest != mine.newest or not mine.board.is_current(count, total):
            mine.board, mine.newest = _followed(session, mine.board, touched), newest
        board = mine.board
        session.after_commit(lambda: _settle(mine, board, touched))
        board.begin(hosts.silent(session), hosts.building(session), hosts.placed(session, hinted))
        yield board, touched


def _settle(remembered: _Remembered, board: Board, touched: Touched) -> None:
    with remembered.turn:
        board.settle(touched)


def _of(session: Session) -> _Remembered:
    with _guard:
        return _remembered.setdefault(session.get_bind().engine.pool, _Remembered())


def _followed(session: Session, board: Board, touched: Touched) -> Board:
    """The board after what changed; a new one if hosts are gone."""
    changed = board.changed(hosts.generations(session))
    if changed is None:
        board = Board()
    if changed is None or 2 * len(changed) > len(board):
        board.put(hosts.load(session), touched)
    else:
        board.put(hosts.load(session, changed), touched)
    return board
