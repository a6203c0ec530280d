"""What each plan follows from, so that it can be made again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "control_ground",
        sa.Column("ground_hash", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ground_hash", name="pk_control_ground"),
    )
    op.create_table(
        "control_step",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("site_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("ground_hash", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name="pk_control_step"),
    )
    op.create_index("ix_control_step_site_id_made_at", "control_step", ["site_id", "made_at"])


def downgrade() -> None:
    op.drop_table("control_step")
    op.drop_table("control_ground")
