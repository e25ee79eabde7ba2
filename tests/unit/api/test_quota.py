"""Quotas: defaults, a project's own limits, and what is left of them for a request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pileus.compute import quotas
from pileus.db import Database, Session
from pileus.errors import QuotaExceeded
from tests.databases import migrated, sqlite_copy

DEFAULTS = {"instances": 10, "cores": 20, "ram": 51200}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    db = Database(sqlite_copy(migrated, tmp_path / "t.db"))
    with db.write() as session:
        yield session
    db.dispose()


def test_limits_of_a_project(session: Session) -> None:
    def limits(project: str) -> dict[str, int]:
        found = quotas.QUOTAS.limits(session, project)
        return {name: found[name] for name in DEFAULTS}

    quotas.QUOTAS.set(session, "a", {"cores": 3})
    session.flush()
    quotas.QUOTAS.set(session, "a", {"cores": 4, "ram": -1})
    session.flush()
    assert limits("a") == DEFAULTS | {"cores": 4, "ram": -1} and limits("b") == DEFAULTS
    quotas.QUOTAS.reset(session, "a")
    assert limits("a") == DEFAULTS


@pytest.mark.parametrize(
    ("limits", "wanted", "given"),
    [
        ({}, (1, 1), 1),
        ({}, (1, 50), 10),
        ({"instances": -1}, (1, 50), 20),
        ({"instances": -1, "cores": -1}, (1, 50), 50),
        ({"ram": 1024}, (1, 50), 2),
        ({"instances": 0}, (1, 1), None),
        ({"cores": 3}, (4, 5), None),
        ({"cores": 4}, (4, 5), 4),
    ],
)
def test_how_many_fit(session: Session, limits: dict[str, int], wanted: tuple[int, int], given: int | None) -> None:
    """Servers of 1 vCPU and 512 MiB."""
    quotas.QUOTAS.set(session, "a", limits)
    session.flush()
    if given is not None:
        assert quotas.take(session, "a", *wanted, vcpus=1, ram_mib=512) == given
        return
    with pytest.raises(QuotaExceeded, match=f"Quota exceeded for {next(iter(limits))}: Requested {wanted[0]}"):
        quotas.take(session, "a", *wanted, vcpus=1, ram_mib=512)


def test_every_quota_that_is_exceeded_is_named(session: Session) -> None:
    with pytest.raises(QuotaExceeded) as error:
        quotas.take(session, "a", 2, 2, vcpus=16, ram_mib=40000)
    assert error.value.message == (
        "Quota exceeded for cores, ram: Requested 32, 80000, but already used 0, 0 of 20, 51200 cores, ram"
    )


def test_what_costs_nothing_is_not_limited(session: Session) -> None:
    quotas.QUOTAS.set(session, "a", {"cores": 0, "ram": 0})
    session.flush()
    assert quotas.take(session, "a", 1, 3, vcpus=0, ram_mib=0) == 3
