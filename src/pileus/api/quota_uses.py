"""What projects use, kept by the database itself as rows come, change and go.

Triggers enter into a ledger what every change of a counted row adds to a project's use, or takes from it: whatever
statement changes it, nothing is forgotten. Entries are only added, so that nobody waits for anybody; a use is their
sum. Whoever takes quota has the project's lock, and replaces the entries by their sums when they have become many; the
housekeeping does it for projects that only give back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Index, Table, bindparam, delete, event, func, insert, select, true
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column
from sqlalchemy.sql import ColumnElement, visitors

from pileus.db import Base, Database, Session

MANY = 200
"""Entries of a project at a service that are left as they are."""


class QuotaUse(Base):
    """An entry: so much more of a resource, or less."""

    __tablename__ = "quota_uses"
    __table_args__ = (Index("ix_quota_uses_sum", "service", "project_id", "resource", "amount"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    service: Mapped[str]
    project_id: Mapped[str]
    resource: Mapped[str]
    amount: Mapped[int]


_MINE = (QuotaUse.service == bindparam("of_service"), QuotaUse.project_id == bindparam("of_project"))
_SUMS = (
    select(QuotaUse.resource, func.sum(QuotaUse.amount).label("used"), func.count().label("entries"))
    .where(*_MINE)
    .group_by(QuotaUse.resource)
)
_TAKEN_OUT = delete(QuotaUse).where(*_MINE).returning(QuotaUse.resource, QuotaUse.amount)


def used(session: Session, service: str, project_id: str) -> dict[str, int]:
    """What a project uses, by resource; what it never used is missing."""
    rows = session.fetch(_SUMS, of_service=service, of_project=project_id)
    return {row.resource: int(row.used) for row in rows}


def lock(session: Session, service: str, project_id: str) -> None:
    """Let nobody else take of a project's quota until the transaction ends."""
    session.lock(f"quota:{service}:{project_id}")


def settled(session: Session, service: str, project_id: str) -> dict[str, int]:
    """`used`, once the project's lock is had: many entries become few."""
    lock(session, service, project_id)
    rows = session.fetch(_SUMS, of_service=service, of_project=project_id)
    if sum(row.entries for row in rows) <= MANY:
        return {row.resource: int(row.used) for row in rows}
    sums: dict[str, int] = {}
    # Those that are taken out are those that are added up, whatever others enter meanwhile.
    for resource, amount in session.fetch(_TAKEN_OUT, of_service=service, of_project=project_id):
        sums[resource] = sums.get(resource, 0) + amount
    mine = {"service": service, "project_id": project_id}
    if entries := [mine | {"resource": name, "amount": amount} for name, amount in sums.items() if amount]:
        session.execute(insert(QuotaUse), entries)
    return sums


def settle_all(db: Database) -> int:
    """Settle what projects have many entries of, each in a transaction of its own; returns how many there were."""
    mine = (QuotaUse.service, QuotaUse.project_id)
    with db.read() as session:
        crowded = session.execute(select(*mine).group_by(*mine).having(func.count() > MANY)).all()
    for service, project_id in crowded:
        with db.write() as session:
            settled(session, service, project_id)
    return len(crowded)


class Counted:
    """Rows of a table that count, each as so much of some resources.

    Args:
        service: whose quota they are counted for.
        project: the column that says whose a row is; nobody's are not counted.
        each: what a row counts as, by resource.
        where: which rows count.
    """

    def __init__(
        self,
        service: str,
        project: InstrumentedAttribute[Any],
        each: Mapping[str, ColumnElement[Any]],
        where: ColumnElement[bool] = true(),
    ) -> None:
        self.service, self.each = service, dict(each)
        self._project: ColumnElement[Any] = project.expression
        self._where = where & self._project.is_not(None)
        self.table: Table = project.class_.__table__
        event.listen(self.table, "after_create", self._create)

    def count(self, session: Session) -> dict[tuple[str, str], int]:
        """How much the rows that there are come to, by project and resource: the slow way, to compare with."""
        sums = [func.sum(amount).label(name) for name, amount in self.each.items()]
        rows = session.execute(select(self._project, *sums).where(self._where).group_by(self._project))
        return {(row[0], name): int(used) for row in rows for name, used in zip(self.each, row[1:], strict=True)}

    def triggers(self, dialect: Dialect) -> list[str]:
        """The statements that make a database count the rows from now on."""
        if dialect.name == "sqlite":
            return list(self._of_sqlite(dialect))
        body = (
            f"IF TG_OP <> 'INSERT' THEN {self._entries(dialect, 'OLD')} END IF; "
            f"IF TG_OP <> 'DELETE' THEN {self._entries(dialect, 'NEW')} END IF; RETURN NULL;"
        )
        name, events = f"quota_{self.table.name}", f"INSERT OR DELETE OR UPDATE OF {', '.join(self._columns)}"
        return [
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
            f"CREATE TRIGGER {name} AFTER {events} ON {self.table.name} FOR EACH ROW EXECUTE FUNCTION {name}()",
        ]

    def _of_sqlite(self, dialect: Dialect) -> Iterator[str]:
        old, new = (self._entries(dialect, row) for row in ("OLD", "NEW"))
        changed = f"UPDATE OF {', '.join(self._columns)}"
        for verb, events, body in (("in", "INSERT", new), ("out", "DELETE", old), ("change", changed, f"{old} {new}")):
            name = f"quota_{self.table.name}_{verb}"
            yield f"CREATE TRIGGER {name} AFTER {events} ON {self.table.name} BEGIN {body} END"

    def _entries(self, dialect: Dialect, row: str) -> str:
        """The statement of a trigger that enters what a row (OLD or NEW) counted, or counts."""

        def sql(expression: ColumnElement[Any]) -> str:
            text = expression.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
            return str(text).replace(f"{self.table.name}.", f"{row}.")

        sign = "-" if row == "OLD" else ""
        parts = " UNION ALL ".join(
            f"SELECT '{name}' AS resource, {sign}({sql(amount)}) AS amount" for name, amount in self.each.items()
        )
        return (
            f"INSERT INTO quota_uses (service, project_id, resource, amount) SELECT '{self.service}', "  # noqa: S608
            f"{sql(self._project)}, resource, amount FROM ({parts}) AS parts WHERE {sql(self._where)} AND amount <> 0;"
        )

    @property
    def _columns(self) -> list[str]:
        """Those that a row's count depends on."""
        parts = (part for one in (self._where, *self.each.values()) for part in visitors.iterate(one))
        return sorted({part.name for part in parts if isinstance(part, Column)})

    def _create(self, _table: Table, connection: Connection, **_: object) -> None:
        for statement in self.triggers(connection.dialect):
            connection.exec_driver_sql(statement)
