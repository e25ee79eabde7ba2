"""Resource classes: the standard ones of os-resource-classes, and custom ones that providers report."""

from __future__ import annotations

from collections.abc import Iterable

import os_resource_classes
from sqlalchemy import select

from pileus.db import Session
from pileus.errors import Invalid, NotFound
from pileus.placement.model import InventoryRow

STANDARD: tuple[str, ...] = tuple(os_resource_classes.STANDARDS)


def every(session: Session) -> list[str]:
    """All names, standard ones first."""
    reported = session.scalars(select(InventoryRow.resource_class).distinct())
    return [*STANDARD, *sorted(set(reported) - set(STANDARD))]


def require(session: Session, name: str) -> None:
    """Raises NotFound: there is no such resource class."""
    if name not in every(session):
        raise NotFound(f"No such resource class {name}.")


def check(session: Session, names: Iterable[str]) -> None:
    """Raises Invalid: one of the names is not a resource class."""
    unknown = set(names) - set(STANDARD)
    unknown -= set(every(session)) if unknown else set()
    if unknown:
        raise Invalid(f"Invalid resource class in resources parameter: No such resource class {min(unknown)}.")
