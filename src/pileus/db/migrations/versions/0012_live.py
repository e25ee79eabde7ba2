"""Live migration: how far a move is, whether it is to be ended, and where ports are expected.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.String(length=255)


def upgrade() -> None:
    op.add_column("migrations", sa.Column("aborting", sa.Boolean(), nullable=False, server_default=sa.false()))
    for name in ("memory_total", "memory_done", "disk_total", "disk_done"):
        op.add_column("migrations", sa.Column(name, BIG, nullable=False, server_default="0"))
    op.add_column("ports", sa.Column("next_host", TEXT, nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
