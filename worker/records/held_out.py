"""What the networks of a cross-validation predict for the rows that they did not train on: one blob for each job."""

from sqlalchemy import insert
from sqlalchemy.orm import Session

from worker.errors import NotFoundError
from worker.records.blobs import publish_blob, read_blob
from worker.records.lease import Claim
from worker.records.tables import HeldOut


def publish_held_out(session: Session, claim: Claim, blob_id: str) -> None:
    """Publish the predictions. Call this in the transaction that ends the job."""
    session.execute(insert(HeldOut).values(job_id=claim.job_id, project_id=claim.project_id, blob_id=blob_id))
    publish_blob(session, blob_id)


def read_held_out(session: Session, job_id: str) -> tuple[str, bytes]:
    """Return the id of the blob and its bytes, an Arrow stream. Raises NotFoundError if the job has none."""
    row = session.get(HeldOut, job_id)
    if row is None:
        raise NotFoundError("this job has no folds, or has not succeeded")
    return row.blob_id, read_blob(session, row.blob_id)
