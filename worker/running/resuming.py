"""Resumes a job from its newest checkpoint, and records if this machine may compute different bits."""

from functools import cache
from typing import Any

import numpy as np
import structlog
from threadpoolctl import ThreadpoolController

from worker.backprop.fit import Training
from worker.records.checkpoints import newest_checkpoint
from worker.records.lease import Claim, record_event
from worker.records.sessions import Database

log = structlog.get_logger()


@cache
def libraries() -> ThreadpoolController:
    """Return the numerical libraries of this process. Finding them takes 3 ms, and no job loads another."""
    return ThreadpoolController()


def fingerprint(threads: int) -> dict[str, Any]:
    """Return what the exact results of a run depend on besides the job: NumPy, the BLAS kernel, and its threads."""
    blas: dict[str, Any] = next((info for info in libraries().info() if info["user_api"] == "blas"), {})
    return {
        "numpy": np.__version__,
        "blas": [blas.get("internal_api"), blas.get("version"), blas.get("architecture")],
        "threads": threads,
    }


def resume(training: Training, database: Database, claim: Claim, here: dict[str, Any]) -> None:
    """Restore the newest checkpoint, if the job has one. here: this process's fingerprint. Raises LeaseLostError."""
    if claim.attempt == 1:
        return
    with database.reading() as session:
        newest = newest_checkpoint(session, claim.job_id)
    if newest is None:
        return
    checkpoint, state = newest
    training.restore(state)
    log.info("resumed", epoch=training.epoch, fingerprint=here)
    if checkpoint.fingerprint != here:
        # another kernel may round differently, so the same bits can't be promised
        payload = {"epoch": training.epoch, "attempt": claim.attempt, "was": checkpoint.fingerprint, "is": here}
        database.write(lambda session: record_event(session, claim, "elsewhere", payload))
