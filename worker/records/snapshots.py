"""A job as clients see it, in plain JSON values. Answers, lists and events show the same."""

from datetime import datetime
from typing import Any

from worker.records.tables import Job

Snapshot = dict[str, Any]

DETAILS = ("spec", "features", "layers", "metadata", "remarks")
"The members that lists and events leave out, since they would repeat them many times."


def job_snapshot(job: Job) -> Snapshot:
    """Return the job as its row is now. The service adds links and the place in the queue."""
    return {
        "id": job.id,
        "name": job.name,
        "status": job.status,
        "attempt": job.attempt,
        "created_at": rfc3339(job.created_at),
        "started_at": rfc3339(job.started_at),
        "finished_at": rfc3339(job.finished_at),
        "progress": {
            "epoch": job.epoch,
            "epochs": job.epochs,
            "fraction": 1.0 if job.status == "succeeded" else job.epoch / job.epochs,
            "eta_seconds": job.eta_seconds,
        },
        "latest": job.latest,
        "best": job.best,
        "test": job.test,
        "parameters": job.parameters,
        "layers": job.layers,
        "features": job.features,
        "classes": job.classes,
        "queue_position": None,
        "error": job.error,
        "hints": job.hints,
        "remarks": job.remarks or [],
        "model": job.model,
        "retry_of": job.retry_of,
        "tags": job.tags,
        "metadata": job.meta,
        "spec": job.spec,
    }


def brief(snapshot: Snapshot) -> Snapshot:
    """Return the part of a snapshot that lists and events have."""
    return {name: value for name, value in snapshot.items() if name not in DETAILS}


def rfc3339(instant: datetime | None) -> str | None:
    """Return the moment as text, such as 2026-11-23T21:55:00.123Z."""
    return None if instant is None else instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
