"""What recording costs: the same job by the bare engine and by a worker that writes its whole record."""

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from migrations.schema import upgrade
from tests.benchmarks.service import postgresql
from worker.data.storage import Storage
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.submission import submit_job
from worker.running.loading import load
from worker.running.planning import plan_job
from worker.running.run import Runner
from worker.running.tables import Tables
from worker.settings import Limits, Settings
from worker.specs.job import Job


def job_of(epochs: int) -> Job:
    document: dict[str, Any] = {
        "dataset": {"source": "builtin", "name": "digits"},
        "target": "label",
        "network": {"layers": [{"type": "dense", "units": 64}]},
        "training": {"epochs": epochs},
    }
    return Job.model_validate(document)


def bare_seconds(spec: Job, tables: Tables) -> float:
    training = load(spec, tables.load(DEFAULT_PROJECT, spec.dataset), Limits()).training
    with threadpool_limits(spec.training.threads):
        began = time.perf_counter()
        for _ in training.run(lambda: False):
            pass
        return time.perf_counter() - began


def recorded_seconds(spec: Job, database: Database, tables: Tables) -> float:
    planned = plan_job(spec, DEFAULT_PROJECT, tables, Limits())
    snapshot, _ = database.write(
        lambda session: submit_job(session, DEFAULT_PROJECT, spec, planned.plan, queued_limit=100)
    )
    runner = Runner(database, tables, Settings(), threading.Event(), "wrk_bench", lambda _: None)
    began = time.perf_counter()
    assert runner.run_job(snapshot["id"]) == "succeeded"
    return time.perf_counter() - began


def measure_on(label: str, url: str, folder: str) -> None:
    database = Database(url)
    upgrade(database.engine)
    tables = Tables(database, Storage(folder), Limits())
    trial = bare_seconds(job_of(100), tables) / 100
    spec = job_of(round(12 / trial))
    ratios = [recorded_seconds(spec, database, tables) / bare_seconds(spec, tables) for _ in range(3)]
    text = ", ".join(f"{(ratio - 1):+.1%}" for ratio in ratios)
    print(f"{label:11} {spec.training.epochs} epochs of digits, recorded against bare, three pairs: {text}")
    database.close()


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure_on("SQLite", f"sqlite:///{Path(folder) / 'bench.db'}", folder)
        with postgresql() as url:
            measure_on("PostgreSQL", url.replace("postgresql://", "postgresql+psycopg://"), folder)
