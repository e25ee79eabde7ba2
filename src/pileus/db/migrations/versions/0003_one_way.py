"""One way: tags of every service in one table; ids of deleted images are remembered; server groups and aggregates.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.String(length=255)
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.rename_table("network_tags", "tags")
    with op.batch_alter_table("tags") as batch:
        batch.create_index(batch.f("ix_tags_tag"), ["tag"])
    op.execute("INSERT INTO tags (resource_id, tag) SELECT image_id, value FROM image_tags")
    op.drop_table("image_tags")
    op.create_table("deleted_images", sa.Column("id", sa.String(255), primary_key=True))
    for table in ("servers", "projects"):
        _move_out(table)
    _add_server_groups()
    _add_aggregates()
    _give_ports()
    _void_tokens()


def _add_server_groups() -> None:
    op.create_table(
        "server_groups",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("project_id", TEXT, nullable=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("max_server_per_host", BIG, nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server_groups")),
    )
    op.create_index(op.f("ix_server_groups_project_id"), "server_groups", ["project_id"])
    group = sa.ForeignKey("server_groups.id", name=op.f("fk_servers_group_id"))
    op.add_column("servers", sa.Column("group_id", TEXT, group, nullable=True), inline_references=True)
    op.create_index(op.f("ix_servers_group_id"), "servers", ["group_id"])


def _add_aggregates() -> None:
    op.create_table(
        "aggregates",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("uuid", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("availability_zone", TEXT, nullable=True),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_aggregates")),
        sa.UniqueConstraint("uuid", name=op.f("uq_aggregates_uuid")),
        sa.UniqueConstraint("name", name=op.f("uq_aggregates_name")),
        sqlite_autoincrement=True,
    )
    aggregate, host = ("aggregate_id", "aggregates.id"), ("host", "hosts.name")
    op.create_table(
        "aggregate_hosts",
        sa.Column("aggregate_id", BIG, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        *(
            sa.ForeignKeyConstraint([own], [other], name=op.f(f"fk_aggregate_hosts_{own}"), ondelete="CASCADE")
            for own, other in (aggregate, host)
        ),
        sa.PrimaryKeyConstraint("aggregate_id", "host", name=op.f("pk_aggregate_hosts")),
    )
    op.create_index(op.f("ix_aggregate_hosts_host"), "aggregate_hosts", ["host"])


def _give_ports() -> None:
    """Which ports are a server's was told by device_id, which anybody may write: only plausible ones are kept."""
    with op.batch_alter_table("ports") as batch:
        batch.add_column(sa.Column("server_id", sa.String(255)))
        batch.add_column(sa.Column("device_tag", sa.String(255)))
        batch.drop_index("ix_ports_device")
        batch.create_index("ix_ports_device", ["device_id"])
        batch.create_index("ix_ports_server", ["server_id", "position"])
    op.execute(
        "UPDATE ports SET server_id = device_id WHERE device_owner = 'compute:nova' AND EXISTS (SELECT 1 FROM servers "
        "WHERE servers.id = ports.device_id AND (servers.project_id = ports.project_id OR ports.created_by_compute))"
    )


def _void_tokens() -> None:
    """What makes tokens void for good leaves marks; tokens issued before this release hold no digest of them."""
    for table in ("projects", "domains"):
        op.add_column(table, sa.Column("tokens_valid_from", sa.DateTime(), nullable=True))
    user = sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_role_removals_user_id"), ondelete="CASCADE")
    op.create_table(
        "role_removals",
        *(sa.Column(name, TEXT, nullable=False) for name in ("user_id", "scope", "target_id")),
        sa.Column("removed_at", sa.DateTime(), nullable=False),
        user,
        sa.PrimaryKeyConstraint("user_id", "scope", "target_id", name=op.f("pk_role_removals")),
    )


def _move_out(table: str) -> None:
    """Tags that were kept as JSON with their row."""
    connection = op.get_bind()
    rows = connection.execute(sa.text(f"SELECT id, tags FROM {table}")).all()  # noqa: S608  # our own names
    tags = [
        {"resource_id": row.id, "tag": tag}
        for row in rows
        for tag in sorted(set(json.loads(row.tags) if isinstance(row.tags, str) else row.tags or ()))
    ]
    if tags:
        connection.execute(sa.text("INSERT INTO tags (resource_id, tag) VALUES (:resource_id, :tag)"), tags)
    # Not in a batch: SQLite would make the table anew, and the faults that refer to servers would go.
    op.execute(f"ALTER TABLE {table} DROP COLUMN tags")


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
