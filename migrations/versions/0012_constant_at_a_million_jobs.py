"""What is asked for again and again is found through an index with few rows; jobs that have ended are counted once."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def only(condition: str) -> dict[str, Any]:
    return dict.fromkeys(("sqlite_where", "postgresql_where"), sa.text(condition))


HELD = "owner IS NOT NULL"
UNPUBLISHED = {"sqlite_where": sa.text("published = 0"), "postgresql_where": sa.text("NOT published")}
UNSERVED = {
    "sqlite_where": sa.text("kind = 'snapshot' AND served = 0"),
    "postgresql_where": sa.text("kind = 'snapshot' AND NOT served"),
}
FINAL = "{}.status IN ('succeeded', 'failed', 'cancelled')"
ENDED = f"{FINAL.format('NEW')} AND NEW.status <> OLD.status"
DELETED = FINAL.format("OLD")
NEW: list[tuple[str, str, list[str], dict[str, Any]]] = [
    ("ix_jobs_project_id_name_status_id", "jobs", ["project_id", "name", "status", "id"], {}),
    ("ix_jobs_held", "jobs", ["id"], only(HELD)),
    ("ix_predictions_held", "predictions", ["id"], only(HELD)),
    ("ix_predictions_project_id_status", "predictions", ["project_id", "status"], {}),
    ("ix_events_old", "events", ["created_at"], only("kind <> 'end'")),
    ("ix_blobs_unpublished", "blobs", ["created_at"], UNPUBLISHED),
    ("ix_weights_snapshots", "weights", ["created_at"], UNSERVED),
    ("ix_weights_blob_id", "weights", ["blob_id"], {}),
    ("ix_checkpoints_blob_id", "checkpoints", ["blob_id"], {}),
    ("ix_kept_steps_blob_id", "kept_steps", ["blob_id"], {}),
    ("ix_idempotency_keys_resource_id", "idempotency_keys", ["resource_id"], {}),
    ("ix_models_project_id_id", "models", ["project_id", "id"], {}),
    ("ix_datasets_storage_key", "datasets", ["storage_key"], {}),
    ("ix_predictions_storage_key", "predictions", ["storage_key"], {}),
    ("ix_login_tokens_expires_at", "login_tokens", ["expires_at"], {}),
]
OLD = [
    ("ix_jobs_status_lease_until", "jobs", ["status", "lease_until"]),
    ("ix_predictions_status_lease_until", "predictions", ["status", "lease_until"]),
    ("ix_events_created_at", "events", ["created_at"]),
    ("ix_weights_created_at", "weights", ["created_at"]),
]


def upgrade() -> None:
    op.add_column("weights", sa.Column("served", sa.Boolean(), nullable=False, server_default=sa.false()))
    weights = sa.table("weights", sa.column("id"), sa.column("served"))
    served: sa.Select[Any] = sa.select(sa.column("weights_id")).select_from(sa.table("model_versions"))
    op.execute(sa.update(weights).where(weights.c.id.in_(served)).values(served=sa.true()))
    for name, table, columns, options in NEW:
        op.create_index(name, table, columns, **options)
    for name, table, _ in OLD:
        op.drop_index(name, table)
    op.create_table(
        "job_counts",
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("count", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_job_counts_project_id_projects"),
        sa.PrimaryKeyConstraint("project_id", "status", name="pk_job_counts"),
    )
    op.create_table(
        "job_count_changes",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(40), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_job_count_changes_project_id_projects"),
        sa.PrimaryKeyConstraint("id", name="pk_job_count_changes"),
    )
    op.execute(
        "INSERT INTO job_counts (project_id, status, count) SELECT project_id, status, count(*) FROM jobs "
        "WHERE status IN ('succeeded', 'failed', 'cancelled') GROUP BY project_id, status"
    )
    if op.get_bind().dialect.name == "postgresql":
        _trigger_postgresql()
    else:
        _trigger_sqlite()


def _trigger_postgresql() -> None:
    insert = "INSERT INTO job_count_changes (id, project_id, status, change) VALUES (gen_random_uuid(), "
    op.execute(
        "CREATE FUNCTION jobs_counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF TG_OP = 'DELETE' THEN "
        f"{insert} OLD.project_id, OLD.status, -1); ELSE {insert} NEW.project_id, NEW.status, 1); END IF; "
        "RETURN NULL; END $$"
    )
    for name, when, condition in (("ended", "UPDATE OF status", ENDED), ("deleted", "DELETE", DELETED)):
        op.execute(
            f"CREATE TRIGGER jobs_{name} AFTER {when} ON jobs FOR EACH ROW WHEN ({condition}) "
            "EXECUTE FUNCTION jobs_counted()"
        )


def _trigger_sqlite() -> None:
    for name, when, condition, row, change in (
        ("ended", "UPDATE OF status", ENDED, "NEW", 1),
        ("deleted", "DELETE", DELETED, "OLD", -1),
    ):
        columns = f"lower(hex(randomblob(16))), {row}.project_id, {row}.status, {change}"
        op.execute(
            f"CREATE TRIGGER jobs_{name} AFTER {when} ON jobs FOR EACH ROW WHEN {condition} "
            f"BEGIN INSERT INTO job_count_changes (id, project_id, status, change) SELECT {columns}; END"
        )


def downgrade() -> None:
    for name in ("ended", "deleted"):
        op.execute(f"DROP TRIGGER jobs_{name}" + (" ON jobs" if op.get_bind().dialect.name == "postgresql" else ""))
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION jobs_counted")
    op.drop_table("job_count_changes")
    op.drop_table("job_counts")
    for name, table, columns in OLD:
        op.create_index(name, table, columns)
    for name, table, _, _ in NEW:
        op.drop_index(name, table)
    op.drop_column("weights", "served")
