"""Record which epochs were the best so far by the monitored figure, so that watchers see it at once."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("epochs", sa.Column("is_best", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("epochs", "is_best")
