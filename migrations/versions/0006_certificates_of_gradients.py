"""What a job's gradients were worth, checked at its end."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("certificate", Json, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "certificate")
