"""Pages: one after the other they are the whole list, whatever it is sorted by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pileus.api.paging import next_link, page_limit, paginate, sort_keys
from pileus.errors import Invalid


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    size: Mapped[int | None]
    owner: Mapped[str | None]
    shared: Mapped[bool]


COLUMNS = {"id": Thing.id, "name": Thing.name, "size": Thing.size, "owner": Thing.owner, "shared": Thing.shared}
ENGINE = create_engine("sqlite://")
Base.metadata.create_all(ENGINE)


def context(most: int = 1000, **query: Any) -> Any:
    """What paging needs of a request."""
    given = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    return SimpleNamespace(
        query=given,
        param=lambda name: given[name][-1] if name in given else None,
        cloud=SimpleNamespace(settings=SimpleNamespace(max_page=most)),
        root="http://here",
        request=SimpleNamespace(path="/compute/v2.1/servers"),
    )


things = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.none() | st.integers(0, 3),
        st.none() | st.sampled_from(["", "x", "y"]),
        st.booleans(),
    ),
    max_size=25,
)
orders = st.lists(st.tuples(st.sampled_from(list(COLUMNS)), st.sampled_from(["asc", "desc"])), min_size=1, max_size=4)


@settings(max_examples=150)
@given(things, orders, st.integers(1, 7))
def test_pages_together_are_the_whole_list(rows: list[Any], order: list[tuple[str, str]], limit: int) -> None:
    ctx = context(sort_key=[name for name, _ in order], sort_dir=[way for _, way in order])
    keys = sort_keys(ctx, COLUMNS, [("id", "asc")])
    with Session(ENGINE) as session:
        for number, (name, size, owner, shared) in enumerate(rows):
            key = f"{(number * 7) % 100:02}-{number}"
            session.add(Thing(id=key, name=name, size=size, owner=owner, shared=shared))
        session.flush()
        whole = [one.id for one in session.scalars(paginate(select(Thing), keys, None, None))]
        pages: list[str] = []
        marker = None
        while page := list(session.scalars(paginate(select(Thing), keys, marker, limit))):
            assert len(page) <= limit
            pages += [one.id for one in page]
            marker = page[-1]
        session.rollback()
    assert pages == whole and len(whole) == len(rows)


def test_order_asked_for() -> None:
    def order(**query: Any) -> list[tuple[str, bool]]:
        return [(column.key, down) for column, down in sort_keys(context(**query), COLUMNS, [("name", "desc")])]

    assert order() == [("name", True), ("id", True)]
    assert order(sort_key="size") == [("size", True), ("id", True)]
    assert order(sort_key=["size", "name"], sort_dir=["asc"]) == [("size", False), ("name", False), ("id", False)]
    assert order(sort="size:asc,name:desc") == [("size", False), ("name", True), ("id", True)]
    assert order(sort="id") == [("id", False)]


@pytest.mark.parametrize("query", [{"sort_key": "shoe"}, {"sort_key": "id", "sort_dir": "up"}, {"sort_dir": "up"}])
def test_orders_that_are_none(query: dict[str, str]) -> None:
    with pytest.raises(Invalid, match=r"shoe|up"):
        sort_keys(context(**query), COLUMNS, [("id", "asc")])


def test_page_sizes() -> None:
    assert page_limit(context()) == 1000 and page_limit(context(limit="7")) == 7
    assert page_limit(context(limit="5000")) == 1000 and page_limit(context(limit="0")) == 0
    for text in ("-1", "x", "1.5", ""):
        with pytest.raises(Invalid, match="limit"):
            page_limit(context(limit=text))


def test_the_link_keeps_what_was_asked_for() -> None:
    ctx = context(name="a b", limit="2", marker="old")
    link = next_link(ctx, [{"id": "1"}, {"id": "2"}], 2)
    assert link == "http://here/compute/v2.1/servers?name=a+b&limit=2&marker=2"
    assert next_link(ctx, [{"id": "1"}], 2) is None, "a page that is not full is the last"
    assert next_link(ctx, [], 2) is None
