"""Add the figures of each layer to curves, and the layers and the hints to jobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("epochs", sa.Column("layers", Json, nullable=True))
    op.add_column("jobs", sa.Column("layers", Json, nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("hints", Json, nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "hints")
    op.drop_column("jobs", "layers")
    op.drop_column("epochs", "layers")
