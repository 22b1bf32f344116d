"""What waits longest is found in one step, however many rows have ended or wait."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("jobs", "predictions")
QUEUED = sa.text("status = 'queued'")


def upgrade() -> None:
    for table in TABLES:
        op.create_index(f"ix_{table}_queued", table, ["id"], sqlite_where=QUEUED, postgresql_where=QUEUED)


def downgrade() -> None:
    for table in TABLES:
        op.drop_index(f"ix_{table}_queued", table)
