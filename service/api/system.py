"""Health, figures and the document of this API."""

import platform
from importlib.metadata import version

from flask import Response, current_app
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from migrations.schema import is_current
from service.access import OPEN
from service.context import parts, project_id
from service.operations import Answer, Operations, answer
from service.schemas import system as schemas
from worker.records.jobs import count_by_status
from worker.records.snapshots import rfc3339
from worker.records.workers import list_workers, queue_figures
from worker.runtime import version as own_version
from worker.specs.training import Training

operations = Operations("system")

LIBRARIES = ("celery", "flask", "numpy", "sqlalchemy")


@operations.declare("GET", "/healthz", policy=OPEN, answers={200: Answer("Alive.", schemas.Health)})
def healthz() -> Response:
    """Whether the process answers."""
    return answer({"status": "alive"})


@operations.declare(
    "GET",
    "/readyz",
    policy=OPEN,
    answers={200: Answer("Ready, or degraded.", schemas.Readiness), 503: Answer("Not ready.", schemas.Readiness)},
)
def readyz() -> Response:
    """Whether the database is there and of this version; a broker that is away only degrades."""
    database = migrations = "up"
    try:
        with parts().database.engine.connect() as connection:
            migrations = "current" if is_current(connection) else "missing"
    except SQLAlchemyError:
        database, migrations = "away", "unknown"
    broker = "away" if parts().doorbell.waiting() is None else "up"
    ready = database == "up" and migrations == "current"
    status = ("ready" if broker == "up" else "degraded") if ready else "unready"
    document = {"status": status, "database": database, "migrations": migrations, "broker": broker}
    return answer(document, 200 if ready else 503)


@operations.declare(
    "GET", "/v1/system", policy="system:read", answers={200: Answer("Figures of this installation.", schemas.System)}
)
def system() -> Response:
    """Queue, workers, limits and versions."""
    settings = parts().settings
    with parts().database.reading() as session:
        queue, workers = queue_figures(session), list_workers(session)
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
            "broker": "away" if parts().doorbell.waiting() is None else "up",
            "database": parts().database.engine.dialect.name,
            "limits": settings.limits.model_dump()
            | {
                "body_bytes": settings.body_bytes_limit,
                "predict_rows": settings.predict_rows_limit,
                "watchers": settings.watchers_limit,
                "training": Training.model_json_schema()["properties"],
            },
            "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        }
    )


@operations.declare(
    "GET", "/metrics", policy="system:read", answers={200: Answer("Prometheus text.", None, ("text/plain",))}
)
def metrics() -> Response:
    """Figures for Prometheus, read from SQL: the same from every process, and after a restart."""
    with parts().database.reading() as session:
        queue, workers = queue_figures(session), list_workers(session)
        by_status = count_by_status(session, project_id())
    registry = CollectorRegistry()
    jobs = Gauge("gradmill_jobs", "Jobs by status.", ["status"], registry=registry)
    for status, count in by_status.items():
        jobs.labels(status).set(count)
    Gauge("gradmill_queue_depth", "Jobs that wait.", registry=registry).set(queue.depth)
    oldest = Gauge("gradmill_queue_oldest_seconds", "Age of the oldest waiting job.", registry=registry)
    oldest.set(queue.oldest_seconds or 0)
    alive = [worker for worker, seconds in workers if seconds < parts().settings.lease_seconds]
    Gauge("gradmill_workers", "Workers with a sign of life within a lease.", registry=registry).set(len(alive))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@operations.declare(
    "GET", "/v1/openapi.json", policy="system:read", answers={200: Answer("OpenAPI 3.1.", None, ("application/json",))}
)
def openapi() -> Response:
    """This document."""
    return answer(current_app.extensions["gradmill.openapi"])
