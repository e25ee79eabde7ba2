"""Moves: servers that go from a host to another.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.String(length=255)
JSON = sa.JSON(none_as_null=True)
HELD = {"cores": "{row}.held_cores", "ram": "{row}.held_ram"}
"""What a move counts as for its server's project."""


def upgrade() -> None:
    needed = ("uuid", "server_id", "type", "status", "source_host", "old_vm_state", "user_id", "project_id", "owner_id")
    op.create_table(
        "migrations",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        *(sa.Column(name, TEXT, nullable=False) for name in needed),
        *(sa.Column(name, TEXT, nullable=True) for name in ("dest_host", "dest_address")),
        sa.Column("source_incarnation", BIG, nullable=True),
        *(sa.Column(name, JSON, nullable=False) for name in ("old_flavor", "new_flavor")),
        *(sa.Column(name, BIG, nullable=False) for name in ("held_cores", "held_ram")),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_migrations")),
        sa.UniqueConstraint("uuid", name=op.f("uq_migrations_uuid")),
        sa.ForeignKeyConstraint(
            ["server_id"], ["servers.id"], name=op.f("fk_migrations_server_id"), ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_migrations_server_id"), "migrations", ["server_id"])
    op.create_index("ix_migrations_list", "migrations", ["created_at", "id"])
    where = sa.text("status IN ('finished', 'confirming')")
    op.create_index(
        "ix_migrations_unconfirmed", "migrations", ["updated_at"], sqlite_where=where, postgresql_where=where
    )
    _count()


def _count() -> None:
    """Triggers that enter what changes of the use of projects."""

    def entries(row: str) -> str:
        sign = "-" if row == "OLD" else ""
        parts = " UNION ALL ".join(
            f"SELECT '{name}' AS resource, {sign}({amount.format(row=row)}) AS amount" for name, amount in HELD.items()
        )
        return (
            "INSERT INTO quota_uses (service, project_id, resource, amount) SELECT 'compute', "  # noqa: S608
            f"{row}.owner_id, resource, amount FROM ({parts}) AS parts "
            f"WHERE {row}.owner_id IS NOT NULL AND amount <> 0;"
        )

    old, new, changed = entries("OLD"), entries("NEW"), "UPDATE OF held_cores, held_ram, owner_id"
    if op.get_bind().dialect.name == "sqlite":
        for verb, events, body in (("in", "INSERT", new), ("out", "DELETE", old), ("change", changed, f"{old} {new}")):
            _run(f"CREATE TRIGGER quota_migrations_{verb} AFTER {events} ON migrations BEGIN {body} END")
        return
    body = f"IF TG_OP <> 'INSERT' THEN {old} END IF; IF TG_OP <> 'DELETE' THEN {new} END IF; RETURN NULL;"
    _run(f"CREATE FUNCTION quota_migrations() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
    when = f"AFTER INSERT OR DELETE OR {changed} ON migrations"
    _run(f"CREATE TRIGGER quota_migrations {when} FOR EACH ROW EXECUTE FUNCTION quota_migrations()")


def _run(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
