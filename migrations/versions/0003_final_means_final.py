"""Make the database refuse to change a final status; record which process holds a job, and how the last one died."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

FINAL = "OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("owner_pid", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("crash", sa.String(length=200), nullable=True))
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION jobs_final() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'a final job is not changed' USING ERRCODE = 'check_violation'; END $$"
        )
        op.execute(
            f"CREATE TRIGGER jobs_final BEFORE UPDATE OF status ON jobs FOR EACH ROW WHEN ({FINAL}) "
            "EXECUTE FUNCTION jobs_final()"
        )
    else:
        op.execute(
            f"CREATE TRIGGER jobs_final BEFORE UPDATE OF status ON jobs FOR EACH ROW WHEN {FINAL} "
            "BEGIN SELECT RAISE(ABORT, 'a final job is not changed'); END"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER jobs_final ON jobs")
        op.execute("DROP FUNCTION jobs_final")
    else:
        op.execute("DROP TRIGGER jobs_final")
    op.drop_column("jobs", "crash")
    op.drop_column("jobs", "owner_pid")
