"""Tags of any object of any service: one table, and the mixin of what has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.orm import Mapped, declared_attr, foreign, mapped_column, relationship

from pileus.db.base import Base


class Tag(Base):
    """A tag of any object."""

    __tablename__ = "tags"

    resource_id: Mapped[str] = mapped_column(primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True, index=True)


class Tagged:
    """What has tags. Reading them costs a statement for all rows of a list: load `tag_rows` with it."""

    id: Any

    @declared_attr
    def tag_rows(cls) -> Mapped[list[Tag]]:
        return relationship(
            Tag,
            primaryjoin=lambda: foreign(Tag.resource_id) == cls.id,
            cascade="all, delete-orphan",
            order_by=Tag.tag,
            overlaps="tag_rows",
        )

    @property
    def tags(self) -> list[str]:
        """In alphabetical order."""
        return [row.tag for row in self.tag_rows]

    @tags.setter
    def tags(self, wanted: Iterable[str]) -> None:
        kept = {row.tag: row for row in self.tag_rows}
        fresh = sorted(set(wanted))
        if fresh != sorted(kept):
            self.tag_rows = [kept.get(tag) or Tag(tag=tag) for tag in fresh]
            self.touch()

    def touch(self) -> None:
        """Its tags changed: what shows when it changed last follows."""
