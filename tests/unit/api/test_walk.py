"""Every route of the URL map, walked by those who have no business there: nothing is written, nothing private is read.

A new noun is walked without being named: routes, bodies and the things to ask about come from the map itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Table, Text, cast, event, select

from pileus.api.routes import Route
from pileus.api.service import Service
from pileus.db import Base
from tests.databases import Databases
from tests.fuzz.documents import encoded
from tests.fuzz.requests import Drawer
from tests.fuzz.world import Answer, World, furnished

FOREIGN = ("nobody", "stranger", "reader", "service", "other domain")
DRAWS = 2
"""Bodies that each writing route is asked with."""
BOOKKEEPING = {"identity_generation", "subnet_pools.cursor"}
"""Tables, and columns, that are about the database's own changes, or where to look for free addresses: anybody
may have a port on an external network."""
Rows = dict[str, set[tuple[Any, ...]]]


def may_read(who: str, service: Service) -> bool:
    """Whose business it is: a reader of project demo may look, services ask placement (its policy reference)."""
    return who == "reader" or (who == "service" and service.name == "placement")


def kept(table: Table) -> list[ColumnElement[str]]:
    """The columns of a table that are looked at, as texts."""
    columns = [column for column in table.columns if f"{table.name}.{column.name}" not in BOOKKEEPING]
    return [cast(column, Text) for column in columns]


class Walk:
    """One walk over the map.

    Attributes:
        wrote: how often the database was written.
    """

    def __init__(self, world: World) -> None:
        self.world, self.drawer = world, Drawer(world, 1)
        self.wrote = 0
        event.listen(world.db.engine, "before_cursor_execute", self._note)
        self.rows = self._rows()

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.wrote += statement.startswith(("INSERT", "UPDATE", "DELETE"))

    def _rows(self) -> Rows:
        with self.world.db.read() as session:
            return {
                table.name: {tuple(map(str, row)) for row in session.execute(select(*kept(table)))}
                for table in Base.metadata.sorted_tables
                if table.name not in BOOKKEEPING
            }

    def changed(self) -> tuple[Rows, Rows]:
        """Rows that came, and rows that went, since this was asked last."""
        if not self.wrote:
            return {}, {}
        self.wrote, before, self.rows = 0, self.rows, self._rows()
        came = {name: rows - before[name] for name, rows in self.rows.items() if rows - before[name]}
        return came, {name: rows - self.rows[name] for name, rows in before.items() if rows - self.rows[name]}

    def ask(self, who: str, service: Service, route: Route, path: str = "") -> tuple[str, Answer]:
        """A valid request about something of project demo's, or about what is at `path`."""
        path = service.prefix + (path or str(self.world.fill(route, "t")))
        headers = []
        version = None
        if service.history:
            version = [one.number for one in service.history.versions if route.serves(one.number)][-1]
            headers.append(("OpenStack-API-Version", f"{service.name} {version[0]}.{version[1]}"))
        if token := self.world.tokens[who]:
            headers.append(("X-Auth-Token", token))
        body = None
        if route.method in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Type", self.drawer.media(route)))
            body = b"data" if route.raw else encoded(self.drawer.documents.valid(route, version))
        return path, self.world.send(route.method, path, headers, body)


@pytest.fixture
def walk(tmp_path: Path, databases: Databases) -> Iterator[Walk]:
    with furnished(databases, tmp_path) as world:
        yield Walk(world)


def own_rows(came: Rows, own: set[str]) -> Rows:
    """What of new rows belongs to the caller, or to what belongs to him."""
    mine, found, grown = set(own), {name: set[tuple[Any, ...]]() for name in came}, True
    while grown:
        grown = False
        for name, rows in came.items():
            for row in rows - found[name]:
                if mine & set(row):
                    found[name].add(row)
                    mine |= {value for value in row if len(value) >= 32}
                    grown = True
    return found


@pytest.mark.parametrize("who", FOREIGN)
def test_nobody_writes_what_is_not_his(walk: Walk, who: str) -> None:
    wrong = []
    for service, route in walk.world.routes():
        if route.method in ("GET", "HEAD") or route.is_open:  # the body of the latter says who asks
            continue
        for _ in range(DRAWS):
            path, answer = walk.ask(who, service, route)
            came, went = walk.changed()
            foreign = {name: rows for name, rows in came.items() if rows - own_rows(came, walk.world.own[who])[name]}
            if foreign or went or (who == "nobody" and answer.status < 400):
                wrong.append((route.method, path, route.action, answer.status, foreign, went))
                break
    assert wrong == [], "\n".join(map(str, wrong))


def test_nobody_reads_what_is_not_his(walk: Walk) -> None:
    wrong = []
    for who in FOREIGN:
        for service, route in walk.world.routes():
            if route.method not in ("GET", "HEAD") or route.is_open or may_read(who, service):
                continue
            path, answer = walk.ask(who, service, route)
            told = {one for one in walk.world.private if one.encode() in answer.body or one in path}
            if answer.status < 400 and (told or who == "nobody"):
                wrong.append((who, route.method, path, answer.status, told, answer.body[:300]))
    assert wrong == [], "\n".join(map(str, wrong))


def test_what_is_walked_is_what_the_administrator_can_do(walk: Walk) -> None:
    """The requests that nobody else may succeed with are sound: most of them succeed when an administrator asks."""
    done, drawer = set(), walk.drawer
    writing = [(service, route) for service, route in walk.world.routes() if route.method not in ("GET", "HEAD")]
    # What destroys comes last, parts before what they are part of.
    deleting = [pair for pair in reversed(writing) if pair[1].method == "DELETE"]
    deleting.sort(key=lambda pair: -pair[1].path.count("/"))
    for service, route in [pair for pair in writing if pair[1].method != "DELETE"] + deleting:
        for _ in range(16):
            walk.world.settle()
            if walk.ask("admin", service, route, drawer.path(route))[1].status < 300:
                done.add(name(service, route))
                break
    missed = sorted({name(service, route) for service, route in writing} - done)
    assert len(missed) < len(writing) * 0.3, "\n".join(missed)


def test_what_was_deleted_is_gone_for_everybody(walk: Walk) -> None:
    """Its id opens nothing any more, below it neither."""
    wrong, world, count = [], walk.world, 0
    routes = world.routes()
    for service, route in routes:
        if route.method != "DELETE" or len(route.parameters) != 1 or not route.path.endswith("}"):
            continue
        segment = route.path.split("/")[-2]
        for gone in [one for one in world.pool(segment, route.parameters[0]) if one not in world.vital]:
            world.settle()
            path = route.path.replace(f"{{{route.parameters[0]}}}", gone)
            if walk.ask("admin", service, route, path)[1].status in (200, 204) and segment != "servers":
                wrong += after(walk, service, route, gone, routes)
                count += 1
                break
    assert wrong == []
    assert count > 8


def after(walk: Walk, service: Service, deleted: Route, gone: str, routes: list[tuple[Service, Route]]) -> list[Any]:
    """The requests about what is gone that succeed all the same."""
    found = []
    for who in ("member", "admin", "stranger"):
        for other, route in routes:
            if other is service and (route.path + "/").startswith(deleted.path + "/"):
                path = route.path.replace(f"{{{deleted.parameters[0]}}}", gone)
                for parameter in route.parameters[1:]:
                    path = path.replace(f"{{{parameter}}}", "t")
                answer = walk.ask(who, service, route, path)[1]
                if answer.status < 400:
                    found.append((who, route.method, path, answer.status))
    return found


def name(service: Service, route: Route) -> str:
    return f"{service.name} {route.method} {route.path} {route.action or ''}"
