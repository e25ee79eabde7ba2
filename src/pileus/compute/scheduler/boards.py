"""The boards that this process remembers: one a database, which the passes of its threads use in turn."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

from sqlalchemy import Pool

from pileus.compute.scheduler import hosts
from pileus.compute.scheduler.board import Board, Claimed
from pileus.db import Session


class _Remembered:
    """A board, and who may look at it or change it."""

    def __init__(self) -> None:
        self.board, self.turn = Board(), threading.Lock()


_remembered: WeakKeyDictionary[Pool, _Remembered] = WeakKeyDictionary()
"""By the connections: when they are disposed of, who knows what the next ones lead to."""
_guard = threading.Lock()


@contextmanager
def current(session: Session, hinted: Collection[str]) -> Iterator[Board]:
    """The board as this transaction's database has it, to choose and claim on until the block ends.

    Call it under the lock of placement, so that nobody else claims until this transaction ends.

    Args:
        hinted: ids of servers that hints name.
    """
    mine = _of(session)
    with mine.turn:
        count, total = hosts.summed(session)
        if not mine.board.is_current(count, total):
            mine.board = _followed(session, mine.board)
        mine.board.begin(hosts.silent(session), hosts.building(session), hosts.placed(session, hinted))
        yield mine.board


def settle(session: Session, board: Board, claimed: Claimed) -> None:
    """The transaction that claimed these on a board was committed."""
    with _of(session).turn:
        board.settle(claimed)


def _of(session: Session) -> _Remembered:
    with _guard:
        return _remembered.setdefault(session.get_bind().engine.pool, _Remembered())


def _followed(session: Session, board: Board) -> Board:
    """The board after what changed; a new one if hosts are gone."""
    changed = board.changed(hosts.generations(session))
    if changed is None:
        board = Board()
    if changed is None or 2 * len(changed) > len(board):
        board.put(hosts.load(session))
    else:
        board.put(hosts.load(session, changed))
    return board
