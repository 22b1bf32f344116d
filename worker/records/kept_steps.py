"""Training steps whose tensors are all kept: one safetensors blob for each step, written once."""

from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.blobs import publish_blob, read_blob
from worker.records.lease import Claim
from worker.records.tables import Blob, KeptStep


def is_kept(session: Session, job_id: str, number: int) -> bool:
    """Return whether an earlier attempt has kept this step. A resumed run computes exactly the same step again."""
    return session.get(KeptStep, (job_id, number)) is not None


def publish_step(session: Session, claim: Claim, *, number: int, epoch: int, weights_sha256: str, blob_id: str) -> None:
    """Publish a step that is not kept yet. Call this in the transaction that records its epoch."""
    session.execute(
        insert(KeptStep).values(
            job_id=claim.job_id,
            project_id=claim.project_id,
            number=number,
            epoch=epoch,
            weights_sha256=weights_sha256,
            blob_id=blob_id,
        )
    )
    publish_blob(session, blob_id)


def list_steps(session: Session, job_id: str) -> Sequence[tuple[KeptStep, int]]:
    """Return a job's kept steps in order, each with its size in bytes."""
    found = select(KeptStep, Blob.bytes).join(Blob, Blob.id == KeptStep.blob_id).where(KeptStep.job_id == job_id)
    return [(step, size) for step, size in session.execute(found.order_by(KeptStep.number))]


def read_step(session: Session, job_id: str, number: int) -> tuple[KeptStep, bytes]:
    """Return the row and its safetensors bytes. Raises NotFoundError if the step is not kept, or not yet."""
    step = session.get(KeptStep, (job_id, number))
    if step is None:
        raise NotFoundError(f"step {number} is not kept")
    return step, read_blob(session, step.blob_id)
