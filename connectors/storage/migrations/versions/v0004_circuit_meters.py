"""What meters of circuits inside the site said."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("site_reading", sa.Column("circuits", sa.Text()))


def downgrade() -> None:
    op.drop_column("site_reading", "circuits")
