"""Shelving: the image that a server comes back from, and since when it is shelved.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("servers", sa.Column("shelved_image_id", sa.String(length=255), nullable=True))
    op.add_column("servers", sa.Column("shelved_at", sa.DateTime(), nullable=True))
    where = sa.text("shelved_at IS NOT NULL")
    op.create_index("ix_servers_shelved", "servers", ["shelved_at"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
