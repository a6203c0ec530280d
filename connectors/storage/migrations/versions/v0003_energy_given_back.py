"""The register of the energy that vehicles give back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("meter_sample", sa.Column("export_register_kwh", sa.Text()))


def downgrade() -> None:
    op.drop_column("meter_sample", "export_register_kwh")
