"""Membership: the cloud's authority, join tokens, agents; first passwords where replicas share a database.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TEXT = sa.String(length=255)


def upgrade() -> None:
    op.create_table(
        "authority",
        sa.Column("id", BIG, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authority")),
    )
    op.create_table(
        "join_tokens",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_join_tokens")),
    )
    op.create_table(
        "agents",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("hosts", TEXT, nullable=False),
        sa.Column("address", TEXT, nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("next_key", sa.Text(), nullable=False),
        sa.Column("southbound", TEXT, nullable=False),
        sa.Column("replica_id", TEXT, nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_agents")),
    )
    op.create_table(
        "first_passwords",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("password", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_first_passwords")),
    )


def downgrade() -> None:
    raise NotImplementedError("restore the backup that was made before the upgrade")
