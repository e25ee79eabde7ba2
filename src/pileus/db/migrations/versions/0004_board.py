"""The scheduler's board: what a pass asks for is found by indexes.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    where = sa.text("vm_state = 'building'")
    columns = ["deleted_at", "host"]
    op.create_index("ix_servers_building", "servers", columns, sqlite_where=where, postgresql_where=where)
    op.create_index(op.f("ix_hosts_provider_id"), "hosts", ["provider_id"])


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
