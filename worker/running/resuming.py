"""Go on from a job's newest checkpoint, and say whether this machine can repeat its bits."""

from typing import Any

import numpy as np
import structlog
from threadpoolctl import threadpool_info

from worker.backprop.fit import Training
from worker.records.checkpoints import newest_checkpoint
from worker.records.lease import Claim, add_note
from worker.records.sessions import Database

log = structlog.get_logger()


def fingerprint(threads: int) -> dict[str, Any]:
    """Return what the bits of a run depend on besides its job: NumPy, the BLAS kernel, and its number of threads."""
    blas: dict[str, Any] = next((info for info in threadpool_info() if info["user_api"] == "blas"), {})
    return {
        "numpy": np.__version__,
        "blas": [blas.get("internal_api"), blas.get("version"), blas.get("architecture")],
        "threads": threads,
    }


def resume(training: Training, database: Database, claim: Claim, here: dict[str, Any]) -> None:
    """Restore the newest checkpoint, if the job has one. here: this process's fingerprint. Raises LeaseLostError."""
    with database.reading() as session:
        newest = newest_checkpoint(session, claim.job_id)
    if newest is None:
        return
    checkpoint, state = newest
    training.restore(state)
    log.info("resumed", epoch=training.epoch, fingerprint=here)
    if checkpoint.fingerprint != here:
        # the same bits can't be promised: another kernel may round differently
        payload = {"epoch": training.epoch, "attempt": claim.attempt, "was": checkpoint.fingerprint, "is": here}
        database.write(lambda session: add_note(session, claim, "elsewhere", payload))
