"""Whether a prediction still needs some weights is found through an index of those that have not ended."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

UNFINISHED: dict[str, Any] = dict.fromkeys(("sqlite_where", "postgresql_where"), sa.text("finished_at IS NULL"))


def upgrade() -> None:
    op.create_index("ix_predictions_unfinished", "predictions", ["weights_id"], **UNFINISHED)
    op.drop_index("ix_predictions_weights_id", "predictions")


def downgrade() -> None:
    op.create_index("ix_predictions_weights_id", "predictions", ["weights_id"])
    op.drop_index("ix_predictions_unfinished", "predictions")
