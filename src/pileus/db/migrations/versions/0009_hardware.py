"""What hosts are made of: NUMA cells, PCI devices.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hosts", sa.Column("hardware", sa.JSON(none_as_null=True), nullable=False, server_default="{}"))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
