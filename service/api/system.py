"""Routes for the system itself: its health, its figures, and the OpenAPI document."""

import platform
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from migrations.schema import is_current
from service.access import OPEN
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.reply import Reply, answer
from service.schemas import system as schemas
from worker.errors import UnavailableError
from worker.records.job_counts import count_by_status
from worker.records.queue import queue_figures
from worker.records.snapshots import rfc3339
from worker.records.workers import any_alive, list_workers
from worker.runtime import version as own_version
from worker.specs.training import Training

operations = Operations("system")

LIBRARIES = ("celery", "flask", "numpy", "sqlalchemy")


@operations.declare("GET", "/healthz", policy=OPEN, hot=True, answers={200: Answer("Alive.", schemas.Health)})
def healthz() -> Reply:
    """Say that the process answers."""
    return answer({"status": "alive"})


@operations.declare(
    "GET",
    "/readyz",
    policy=OPEN,
    answers={200: Answer("Ready, or degraded.", schemas.Readiness), 503: Answer("Not ready.", schemas.Readiness)},
)
def readyz() -> Reply:
    """Say whether the database can be reached and has this version's schema.

    A missing broker, or no worker that is alive, only degrades: jobs are accepted, and wait.
    """
    found = find_readiness()
    status = ("ready" if found.broker == found.workers == "up" else "degraded") if found.ready else "unready"
    return answer({"status": status} | found._asdict(), 200 if found.ready else 503)


class Readiness(NamedTuple):
    """The state of the database, its schema, the broker and the workers."""

    database: str
    migrations: str
    broker: str
    workers: str

    @property
    def ready(self) -> bool:
        """Whether jobs and models can be read and written. That needs no broker."""
        return self.database == "up" and self.migrations == "current"


def find_readiness() -> Readiness:
    """Look for the database with this version's schema, for the broker, and for a worker that is alive."""
    database, migrations, workers = "up", "missing", "unknown"
    try:
        with parts().database.reading() as session:
            current = is_current(session.connection())
        # the connection is given back first: each of these requests needs one at a time
        if current:
            migrations = "current"
            workers = workers_state()
    except (SQLAlchemyError, UnavailableError):
        database, migrations = "away", "unknown"
    return Readiness(database, migrations, "away" if parts().doorbell.waiting() is None else "up", workers)


def workers_state() -> str:
    """Return `up` if a worker has shown a sign of life within a lease, else `none`. Raises UnavailableError."""
    with parts().database.reading() as session:
        return "up" if any_alive(session, lease_seconds=parts().settings.lease_seconds) else "none"


@operations.declare(
    "GET",
    "/v1/system",
    policy="system:read",
    heavy=True,
    answers={200: Answer("Figures of this installation.", schemas.System)},
)
def system() -> Reply:
    """Show the queue, the workers, the storage, the limits and the versions."""
    settings = parts().settings
    with parts().database.reading() as session:
        queue, workers = queue_figures(session), list_workers(session)
    alive = any(seconds < settings.lease_seconds for _, seconds in workers)
    return answer(
        {
            "version": own_version(),
            "queue": {"depth": queue.depth, "oldest_seconds": queue.oldest_seconds, "running": queue.running},
            "workers": [
                {
                    "id": worker.id,
                    "hostname": worker.hostname,
                    "pid": worker.pid,
                    "processes": worker.processes,
                    "version": worker.version,
                    "started_at": rfc3339(worker.started_at),
                    "heartbeat_seconds_ago": round(seconds, 3),
                    "alive": seconds < settings.lease_seconds,
                }
                for worker, seconds in workers
            ],
            "workers_state": "up" if alive else "none",
            "broker": "away" if parts().doorbell.waiting() is None else "up",
            "database": parts().database.engine.dialect.name,
            "storage": {"unknown_objects": parts().unknown_count.read()},
            "limits": settings.limits.model_dump()
            | {
                "body_bytes": settings.body_bytes_limit,
                "json_memory_bytes": settings.json_memory_bytes_limit,
                "parse_memory_bytes": settings.parse_memory_bytes_limit,
                "predict_rows": settings.predict_rows_limit,
                "predict_memory_bytes": settings.predict_memory_bytes_limit,
                "watchers": settings.watchers_limit,
                "training": Training.model_json_schema()["properties"],
            },
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        }
    )


@operations.declare(
    "GET",
    "/metrics",
    policy="system:read",
    heavy=True,
    answers={200: Answer("Prometheus text.", None, ("text/plain",))},
)
def metrics() -> Reply:
    """Show figures for Prometheus. They are read from SQL, so every process shows the same, also after a restart."""
    with parts().database.reading() as session:
        queue, workers = queue_figures(session), list_workers(session)
        by_status = count_by_status(session, project_id())
    registry = CollectorRegistry()
    jobs = Gauge("gradmill_jobs", "Jobs by status.", ["status"], registry=registry)
    for status, count in by_status.items():
        jobs.labels(status).set(count)
    Gauge("gradmill_queue_depth", "Waiting jobs.", registry=registry).set(queue.depth)
    oldest = Gauge("gradmill_queue_oldest_seconds", "Age of the oldest waiting job.", registry=registry)
    oldest.set(queue.oldest_seconds or 0)
    alive = [worker for worker, seconds in workers if seconds < parts().settings.lease_seconds]
    Gauge("gradmill_workers", "Workers with a sign of life within a lease.", registry=registry).set(len(alive))
    return Reply(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@operations.declare(
    "GET", "/v1/openapi.json", policy="system:read", answers={200: Answer("OpenAPI 3.1.", None, ("application/json",))}
)
def openapi() -> Reply:
    """Show this document."""
    return answer(parts().openapi())
