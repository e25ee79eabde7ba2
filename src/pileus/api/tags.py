"""Tags of any noun: the four filters, and what a noun's tags may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, func, select

from pileus.api.filters import Filter
from pileus.api.requester import Requester
from pileus.db.tags import Tag
from pileus.errors import Invalid, PileusError


def _too_many(count: int, most: int) -> PileusError:
    return Invalid(f"The number of tags ({count}) exceeds the limit of {most}.")


class TagRules(msgspec.Struct, frozen=True, kw_only=True):
    """What one noun's tags may be, and how its service speaks of them. The policy verbs are index_tags, replace_tags,
    clear_tags, show_tag, add_tag and remove_tag.

    Attributes:
        most: how many there may be. longest: characters in one. forbidden: what none may hold.
        added, present: status of PUT of a new tag, and of one that is there. located: it has a Location.
        readable: tags have URLs to be listed, replaced and looked for, not only to be added and removed.
        missing, missing_kind: message, with {key} and {tag}, and kind of the error where there is no such tag.
        repeats: a list may name a tag twice; it has it once.
        body: of the list, from the request's context and the tags.
        changeable: raises Conflict where the object's state forbids it.
    """

    most: int
    longest: int = 255
    forbidden: tuple[str, ...] = (",", "/")
    added: int = 201
    present: int = 201
    located: bool = False
    readable: bool = True
    repeats: bool = True
    missing: str = "Tag {tag} could not be found."
    missing_kind: str = ""
    too_many: Callable[[int, int], PileusError] = _too_many
    body: Callable[[Any, list[str]], dict[str, Any]] | None = None
    changeable: Callable[[Any], None] | None = None


def tag_filters(model: Any) -> dict[str, Filter]:
    """tags, tags-any, not-tags and not-tags-any, each a list with commas."""

    def having(tags: Sequence[str]) -> ColumnElement[bool]:
        return model.id.in_(select(Tag.resource_id).where(Tag.tag.in_(tags)))  # type: ignore[no-any-return]

    def every(tags: Sequence[str]) -> ColumnElement[bool]:
        counted = select(Tag.resource_id).where(Tag.tag.in_(tags)).group_by(Tag.resource_id)
        return model.id.in_(counted.having(func.count() == len(set(tags))))  # type: ignore[no-any-return]

    def build(test: Callable[[Sequence[str]], ColumnElement[bool]]) -> Filter:
        def condition(_asks: Requester, values: Sequence[str]) -> ColumnElement[bool]:
            return test([tag for value in values for tag in value.split(",") if tag])

        return condition

    return {
        "tags": build(every),
        "tags-any": build(having),
        "not-tags": build(lambda tags: ~every(tags)),
        "not-tags-any": build(lambda tags: ~having(tags)),
    }
