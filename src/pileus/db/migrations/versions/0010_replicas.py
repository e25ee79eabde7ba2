"""Where replicas elsewhere find OVN's northbound database; which folder each keeps images in.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, name in (("agents", "northbound"), ("replicas", "image_folder")):
        op.add_column(table, sa.Column(name, sa.String(length=255), nullable=False, server_default=""))


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
