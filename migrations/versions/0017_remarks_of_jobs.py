"""A job has the remarks about the columns that it uses, as they were when it was submitted."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from worker.records.tables import Json

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("remarks", Json, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "remarks")
