"""Patterns of clients take linear time, whatever they are, and other threads run meanwhile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import select

from pileus.db import new_id
from pileus.db.patterns import LONGEST, compiled, matches, sqlite_regexp
from pileus.identity.model import Role
from tests.databases import Databases, migrated

EVIL = ["(a+)+$", "(a|aa)+$", "(a*)*b", "(.*a){20}", "(x+x+)+y"]


@pytest.mark.parametrize("pattern", EVIL)
def test_no_pattern_blows_up(pattern: str) -> None:
    """Python's `re` takes 2**60 steps for one of these names."""
    began = time.process_time()
    for number in range(500):
        sqlite_regexp(pattern, "a" * 60 + f"!{number}")
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "pattern", ["(", "[a", r"(a)\1", "(?=a)", "(?<!a)b", "a{1001}", "((a{100}){100}){100}", "\ud800"]
)
def test_what_no_automaton_matches_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a 'regex'"):
        compiled(pattern)


def test_patterns_are_not_long() -> None:
    assert compiled("a" * LONGEST).search("b") is None
    with pytest.raises(ValueError, match="at most"):
        compiled("a" * (LONGEST + 1))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("(a+)+$", ["aaa"]), ("^(web|db)-[0-9]$", ["db-1", "web-1"]), ("w.b", ["web-1", "wéb"]), ("(?i)WEB", ["web-1"])],
)
def test_the_database_matches_with_it(tmp_path: Path, databases: Databases, pattern: str, found: list[str]) -> None:
    with databases.copy(migrated, tmp_path / "t.db") as db, db.write() as session:
        session.add_all([Role(id=new_id(), name=name) for name in ("aaa", "db-1", "web-1", "wéb", "cab")])
        session.flush()
        names = session.scalars(select(Role.name).where(matches(Role.name, pattern)))
        assert sorted(names) == found
