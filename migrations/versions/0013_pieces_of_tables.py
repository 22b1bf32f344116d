"""Where the rows of an uploaded table are in its bytes, so that a few can be read without the others."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("datasets", sa.Column("pieces", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("datasets", "pieces")
