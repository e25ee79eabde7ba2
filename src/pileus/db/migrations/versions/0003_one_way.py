"""One way: tags of every service in one table; ids of deleted images are remembered.

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


def upgrade() -> None:
    op.rename_table("network_tags", "tags")
    with op.batch_alter_table("tags") as batch:
        batch.create_index(batch.f("ix_tags_tag"), ["tag"])
    op.execute("INSERT INTO tags (resource_id, tag) SELECT image_id, value FROM image_tags")
    op.drop_table("image_tags")
    op.create_table("deleted_images", sa.Column("id", sa.String(255), primary_key=True))
    for table in ("servers", "projects"):
        _move_out(table)

    with op.batch_alter_table("servers") as batch:
        batch.add_column(sa.Column("group_id", sa.String(255)))
        batch.create_index(batch.f("ix_servers_group_id"), ["group_id"])
    _give_ports()


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
    with op.batch_alter_table(table) as batch:
        batch.drop_column("tags")


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
