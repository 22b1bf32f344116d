"""The layers and encoders of a job are stored once, not with each of its weights; those that exist keep their own."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "networks",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=True),
        sa.Column("network", Json, nullable=False),
        sa.Column("encoders", Json, nullable=False),
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_networks_job_id_jobs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_networks_project_id_projects"),
        sa.PrimaryKeyConstraint("id", name="pk_networks"),
    )
    op.create_index("ix_networks_job_id", "networks", ["job_id"])
    op.add_column("weights", sa.Column("network_id", sa.String(40), nullable=False, server_default=""))
    op.create_index("ix_weights_network_id", "weights", ["network_id"])


def downgrade() -> None:
    weights = sa.table("weights", *map(sa.column, ("network_id", "network", "encoders")))
    networks = sa.table("networks", *map(sa.column, ("id", "network", "encoders")))
    stored = {
        name: sa.select(networks.c[name]).where(networks.c.id == weights.c.network_id).scalar_subquery()
        for name in ("network", "encoders")
    }
    op.execute(sa.update(weights).where(weights.c.network_id != "").values(stored))
    op.drop_index("ix_weights_network_id", "weights")
    op.drop_column("weights", "network_id")
    op.drop_table("networks")
