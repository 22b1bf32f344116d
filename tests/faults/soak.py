"""Many small jobs through two workers: how memory grows, and how long jobs wait."""

import os
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from sqlalchemy import func, select

from tests.products import Product, command_line, free_port, parent_of, start_product
from worker.records.sessions import Database
from worker.records.tables import Job

SMALL = {
    "name": "small",
    "dataset": {"source": "builtin", "name": "xor"},
    "target": "label",
    "network": {"layers": [{"type": "dense", "units": 4}]},
    "training": {"epochs": 5, "snapshots": 0},
}
AT_ONCE = 50
WARM = 500


def soak(jobs: int, **environment: str) -> str:
    """Run this many jobs, a few at once. Return a line about speed, growth of memory and waiting."""
    with (
        tempfile.TemporaryDirectory() as folder,
        start_product(Path(folder) / "data", free_port(), **environment) as product,
    ):
        database = Database(environment.get("GRADMILL_DATABASE_URL", f"sqlite:///{product.folder / 'gradmill.db'}"))
        _run(product, database, WARM)
        before, began = _memory(product), time.monotonic()
        _run(product, database, WARM + jobs)
        grown = {name: (_memory(product)[name] - bytes_) / 2**20 / (jobs / 1000) for name, bytes_ in before.items()}
        seconds = time.monotonic() - began
        with database.reading() as session:
            rows = session.execute(select(Job.created_at, Job.started_at, Job.status)).all()
        waits = sorted((row.started_at - row.created_at).total_seconds() for row in rows[WARM:])
        database.close()
    assert {row.status for row in rows} == {"succeeded"}
    growth = ", ".join(f"{name} {value:+.2f}" for name, value in grown.items())
    median = statistics.median(waits)
    return (
        f"{jobs:,} small jobs, {jobs / seconds:.0f} a second; MiB per 1,000 jobs: {growth}; "
        f"wait p50 {median:.3f} s, longest {waits[-1]:.3f} s ({waits[-1] / median:.1f}x)"
    )


def _run(product: Product, database: Database, total: int) -> None:
    submitted = ended = _count(database)
    while ended < total:
        while submitted < min(total, ended + AT_ONCE):
            product.post("/v1/jobs", SMALL).raise_for_status()
            submitted += 1
        time.sleep(0.05)
        ended = _count(database, "succeeded")


def _count(database: Database, *statuses: str) -> int:
    found = select(func.count()).select_from(Job)
    with database.reading() as session:
        return session.scalar(found.where(Job.status.in_(statuses)) if statuses else found) or 0


def _memory(product: Product) -> dict[str, int]:
    """Return the resident bytes of the serving process, the worker's parent, and all training processes."""
    everything = product.processes()
    servers = {pid for pid in everything if b"service.edge" in command_line(pid)}
    return {
        "API": sum(_resident(pid) for pid in servers if parent_of(pid) in servers),
        "worker": sum(_resident(pid) for pid in everything if b"worker.tasks" in command_line(pid)),
        "training": sum(map(_resident, product.training_processes())),
    }


def _resident(pid: int) -> int:
    os.kill(pid, 0)
    resident: int = psutil.Process(pid).memory_info().rss
    return resident
