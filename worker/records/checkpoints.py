"""Checkpoints: the states from which a job can resume. The last two of each job are kept, until it ends.

In the API, `checkpoint` has two more meanings. As a parameter it chooses published weights (`specs.base`). As an event
it says that a snapshot of the weights was published (`running.recorder`).
"""

import json
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from worker.backprop.plan import State
from worker.records.blobs import delete_blobs, publish_blob, read_blob
from worker.records.identifiers import new_id
from worker.records.lease import Claim
from worker.records.tables import Checkpoint
from worker.records.weights import from_bytes, to_bytes

KEPT = 2
VALUES = "values"


def state_to_bytes(state: State) -> bytes:
    """Return safetensors bytes, with the values as JSON in the metadata. JSON keeps every float exactly."""
    return to_bytes(state.arrays, {VALUES: json.dumps(state.values)})


def state_from_bytes(content: bytes) -> State:
    # a safetensors file starts with the length of its header, then the header: JSON that has the metadata
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return State(from_bytes(content), json.loads(metadata[VALUES]))


def publish_checkpoint(
    session: Session, claim: Claim, *, epoch: int, step: int, fingerprint: dict[str, Any], blob_id: str
) -> None:
    """Publish a checkpoint and delete all but the last two. Call this in the transaction of the epochs that it covers.

    epoch: how many epochs are complete.
    step: how many steps of the next epoch are done.
    fingerprint: what the run's exact results depend on besides the job: see `running.resuming`.
    """
    session.execute(
        insert(Checkpoint).values(
            id=new_id("ckp"),
            project_id=claim.project_id,
            job_id=claim.job_id,
            attempt=claim.attempt,
            epoch=epoch,
            step=step,
            fingerprint=fingerprint,
            blob_id=blob_id,
        )
    )
    publish_blob(session, blob_id)
    drop_checkpoints(session, claim.job_id, keep=KEPT)


def newest_checkpoint(session: Session, job_id: str) -> tuple[Checkpoint, State] | None:
    """Return the checkpoint to resume from, or None for a fresh start."""
    found = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.id.desc()).limit(1)
    row = session.scalar(found)
    return None if row is None else (row, state_from_bytes(read_blob(session, row.blob_id)))


def drop_checkpoints(session: Session, job_id: str, *, keep: int = 0) -> None:
    """Delete a job's checkpoints with their bytes, except the newest `keep`."""
    rows = session.execute(
        select(Checkpoint.id, Checkpoint.blob_id).where(Checkpoint.job_id == job_id).order_by(Checkpoint.id.desc())
    ).all()[keep:]
    if rows:
        session.execute(delete(Checkpoint).where(Checkpoint.id.in_([row.id for row in rows])))
        delete_blobs(session, [row.blob_id for row in rows])
