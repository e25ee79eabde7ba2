"""Declarative base and the types that every table uses."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Integer, MetaData, String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import JSON

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Base of all tables. Times are naive UTC; ids are text."""

    metadata = MetaData(naming_convention=CONVENTION)
    type_annotation_map = {
        str: String(255),
        datetime: DateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        # SQLite numbers rows only in a column declared INTEGER.
        int: BigInteger().with_variant(Integer(), "sqlite"),
    }


def new_id() -> str:
    """A fresh UUID, dashed."""
    return str(uuid.uuid4())
