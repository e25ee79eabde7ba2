"""The journal keyed by name and with its undos, subjects, leases of replicas, debts, unknown guests, the cloud's id.

Operations in flight go on: their steps get keys, and those of a boot the undos that its flow names.
"""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.String(length=255)
JSON = sa.JSON(none_as_null=True)
UNFINISHED = sa.text("finished_at IS NULL")
SYNCS = {"network": "network_id", "port": "port_id", "security_group": "group_id"}


def upgrade() -> None:
    _add_tables()
    _widen_steps()
    _change_operations()
    op.add_column("servers", sa.Column("incarnation", BIG, nullable=False, server_default="0"))
    op.add_column("servers", sa.Column("news", JSON, nullable=True))
    op.drop_table("network_unsynced")


def _add_tables() -> None:
    op.create_table(
        "cloud",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cloud")),
    )
    op.create_table(
        "replicas",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("lease_until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replicas")),
    )
    op.create_table(
        "debts",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("subject_id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("arguments", JSON, nullable=False),
        sa.Column("request_id", TEXT, nullable=False),
        sa.Column("token", TEXT, nullable=False),
        sa.Column("tries", BIG, nullable=False),
        sa.Column("next_try", sa.DateTime(), nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_debts")),
        sa.UniqueConstraint("host", "subject_id", "name", "key", name=op.f("uq_debts_host_subject_id_name_key")),
        sa.UniqueConstraint("token", name=op.f("uq_debts_token")),
    )
    op.create_index(op.f("ix_debts_next_try"), "debts", ["next_try"])
    op.create_table(
        "unknown_guests",
        sa.Column("host", TEXT, nullable=False),
        sa.Column("server_id", TEXT, nullable=False),
        sa.Column("incarnation", BIG, nullable=False),
        sa.Column("power_state", BIG, nullable=True),
        sa.Column("first_seen", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["host"], ["hosts.name"], name=op.f("fk_unknown_guests_host"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("host", "server_id", name=op.f("pk_unknown_guests")),
    )
    op.create_table(
        "operation_subjects",
        sa.Column("subject_id", TEXT, nullable=False),
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("task_state", TEXT, nullable=True),
        _of_operation("operation_subjects", "operation_id"),
        sa.PrimaryKeyConstraint("subject_id", name=op.f("pk_operation_subjects")),
    )
    op.create_index(op.f("ix_operation_subjects_operation_id"), "operation_subjects", ["operation_id"])
    op.create_table(
        "operation_waits",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("after_id", TEXT, nullable=False),
        _of_operation("operation_waits", "operation_id"),
        _of_operation("operation_waits", "after_id"),
        sa.PrimaryKeyConstraint("operation_id", "after_id", name=op.f("pk_operation_waits")),
    )
    op.create_index(op.f("ix_operation_waits_after_id"), "operation_waits", ["after_id"])


def _of_operation(table: str, column: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_{column}")
    return sa.ForeignKeyConstraint([column], ["operations.id"], name=name, ondelete="CASCADE")


def _widen_steps() -> None:
    op.drop_index(op.f("ix_operation_steps_operation_id"), "operation_steps")
    op.add_column("operation_steps", sa.Column("key", TEXT, nullable=True))
    op.add_column("operation_steps", sa.Column("take_back", JSON, nullable=True))
    op.execute("UPDATE operation_steps SET key = name")
    # What a lost acknowledgement once had written twice.
    same = "SELECT min(id) FROM operation_steps GROUP BY operation_id, position, undo"
    op.execute(f"DELETE FROM operation_steps WHERE id NOT IN ({same})")  # noqa: S608
    _key_live_steps()
    with op.batch_alter_table("operation_steps") as steps:
        steps.alter_column("key", existing_type=TEXT, nullable=False)
        steps.alter_column("finished_at", existing_type=sa.DateTime(), nullable=True)
        steps.create_unique_constraint(
            op.f("uq_operation_steps_operation_id_position_undo"), ["operation_id", "position", "undo"]
        )
    _note_builds_under_way()


def _key_live_steps() -> None:
    """Occurrences of steps in flight, and the undos of boots."""
    connection = op.get_bind()
    steps = sa.table(
        "operation_steps",
        *(sa.column(name) for name in ("id", "operation_id", "position", "name", "host", "key")),
        sa.column("undo", sa.Boolean()),
        sa.column("take_back", JSON),
    )
    operations = sa.table("operations", *(sa.column(name) for name in ("id", "kind", "subject_id", "finished_at")))
    live = {row.id: row for row in connection.execute(sa.select(operations).where(operations.c.finished_at.is_(None)))}
    query = sa.select(steps).where(steps.c.operation_id.in_(list(live))).order_by(steps.c.position, steps.c.id)
    seen: Counter[tuple[str, str, bool]] = Counter()
    for row in connection.execute(query).all():
        occurrence = (row.operation_id, row.name, bool(row.undo))
        seen[occurrence] += 1
        values: dict[str, Any] = {"key": row.name if seen[occurrence] == 1 else f"{row.name}#{seen[occurrence]}"}
        if live[row.operation_id].kind == "server.boot" and not row.undo:
            values["take_back"] = _undo_of_boot(row.name, live[row.operation_id].subject_id, row.host)
        connection.execute(sa.update(steps).where(steps.c.id == row.id).values(**values))


def _note_builds_under_way() -> None:
    """A command was journaled only with its answer: what a host may be building is noted, so that it can be undone."""
    columns = ("operation_id", "position", "name", "key", "host", "outcome", "attempt", "started_at", "finished_at")
    steps = sa.table(
        "operation_steps",
        *(sa.column(name) for name in columns),
        sa.column("undo", sa.Boolean()),
        sa.column("result", JSON),
        sa.column("take_back", JSON),
    )
    connection = op.get_bind()
    operations = sa.table("operations", *(sa.column(name) for name in ("id", "kind", "subject_id", "finished_at")))
    live = sa.select(operations).where(operations.c.finished_at.is_(None), operations.c.kind == "server.boot")
    for operation in connection.execute(live).all():
        query = sa.select(steps).where(steps.c.operation_id == operation.id, steps.c.undo.is_(sa.false()))
        done = connection.execute(query.order_by(steps.c.position)).all()
        if not done or done[-1].name != "allocate network" or done[-1].outcome != "finished":
            continue
        last, occurrence = done[-1], sum(row.name == "build guest" for row in done) + 1
        host = next(row.result["host"] for row in reversed(done) if row.name == "schedule")
        begun = {
            "operation_id": operation.id,
            "position": last.position + 1,
            "name": "build guest",
            "key": "build guest" if occurrence == 1 else f"build guest#{occurrence}",
            "host": host,
            "outcome": "begun",
            "attempt": last.attempt,
            "started_at": last.finished_at,
            "undo": False,
            "take_back": _undo_of_boot("build guest", operation.subject_id, host),
        }
        connection.execute(sa.insert(steps).values(**begun))


def _undo_of_boot(step: str, server_id: str, host: str | None) -> dict[str, Any] | None:
    undo = {"schedule": "release claim", "allocate network": "give up network"}.get(step)
    if undo:
        return {"owed": {"do": undo, "arguments": {"server_id": server_id}}, "host": None}
    if step == "build guest":
        arguments = {"server_id": server_id, "incarnation": 0}
        return {"owed": {"do": "discard guest", "arguments": arguments}, "host": host}
    return None


def _change_operations() -> None:
    op.add_column("operations", sa.Column("version", BIG, nullable=False, server_default="1"))
    op.add_column("operations", sa.Column("forward", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("operations", sa.Column("not_before", sa.DateTime(), nullable=True))
    op.add_column("operations", sa.Column("progress", JSON, nullable=True))
    _carry_over_live()
    op.drop_index("ix_operations_live", "operations")
    op.drop_index("ix_operations_live_subject", "operations")
    for column in ("task_state", "lease_until", "after_id"):
        # Not in a batch: SQLite would make the table anew, and the steps that refer to it would go.
        op.execute(f"ALTER TABLE operations DROP COLUMN {column}")
    where: dict[str, Any] = {"sqlite_where": UNFINISHED, "postgresql_where": UNFINISHED}
    op.create_index("ix_operations_live", "operations", ["lease_owner"], **where)
    op.create_index("ix_operations_finished", "operations", ["finished_at"])


def _carry_over_live() -> None:
    """Live operations get their subjects and waits; those that only told an agent something become debts."""
    connection = op.get_bind()
    names = ("id", "kind", "subject_id", "request_id", "state", "task_state", "after_id", "created_at", "lease_owner")
    operations = sa.table(
        "operations",
        *(sa.column(name) for name in names),
        sa.column("finished_at", sa.DateTime()),
        sa.column("arguments", JSON),
    )
    subjects = sa.table("operation_subjects", *map(sa.column, ("subject_id", "operation_id", "task_state")))
    waits = sa.table("operation_waits", *map(sa.column, ("operation_id", "after_id")))
    unfinished = operations.c.finished_at.is_(None)
    connection.execute(sa.update(operations).where(unfinished).values(lease_owner=None))
    holders: dict[str, Any] = {}
    for row in connection.execute(sa.select(operations).where(unfinished).order_by(operations.c.created_at)).all():
        if row.kind.startswith("server."):
            holders[row.subject_id] = row
            arguments = {name: value for name, value in row.arguments.items() if name != "host"}
            connection.execute(sa.update(operations).where(operations.c.id == row.id).values(arguments=arguments))
            if row.after_id:
                connection.execute(sa.insert(waits).values(operation_id=row.id, after_id=row.after_id))
        else:
            _owe(connection, row.kind, row.subject_id, row.arguments)
            ended = {"state": "succeeded", "finished_at": _now()}
            connection.execute(sa.update(operations).where(operations.c.id == row.id).values(**ended))
    for subject_id, row in holders.items():
        values = {"subject_id": subject_id, "operation_id": row.id, "task_state": row.task_state}
        connection.execute(sa.insert(subjects).values(**values))
    for kind, subject_id in connection.execute(sa.text("SELECT kind, subject_id FROM network_unsynced")).all():
        _owe(connection, f"{kind}.sync", subject_id, {})
    # Hosts used to write the ports that they plugged: one may not have come to it.
    for (port_id,) in connection.execute(sa.text("SELECT id FROM ports WHERE host <> ''")).all():
        _owe(connection, "port.sync", port_id, {})


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _owe(connection: Any, kind: str, subject_id: str, arguments: dict[str, Any]) -> None:
    noun = kind.partition(".")[0]
    if noun in SYNCS:
        host, name, owed = "(network)", f"sync {noun.replace('_', ' ')}", {SYNCS[noun]: subject_id}
    elif kind == "guest.update_data":
        host, name = arguments["host"], "update instance data"
        owed = {"server_id": subject_id, "host": host}
    else:
        return  # a guest that was to be reaped: nothing that no row condemns is destroyed any more
    now = _now()
    debts = sa.table(
        "debts",
        *map(sa.column, ("host", "subject_id", "name", "key", "request_id", "token", "tries")),
        sa.column("arguments", JSON),
        sa.column("next_try", sa.DateTime()),
        sa.column("created_at", sa.DateTime()),
    )
    known = sa.select(debts.c.name).where(debts.c.host == host, debts.c.subject_id == subject_id, debts.c.name == name)
    if connection.execute(known).first() is None:
        values = {"host": host, "subject_id": subject_id, "name": name, "key": "", "arguments": owed, "request_id": ""}
        connection.execute(sa.insert(debts).values(**values, token=str(uuid4()), tries=0, next_try=now, created_at=now))
