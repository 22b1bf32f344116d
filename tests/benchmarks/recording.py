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
from worker.intake.datasets import Datasets
from worker.intake.submission import Intake
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.running.loading import load
from worker.running.run import Runner
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


def bare_seconds(spec: Job, datasets: Datasets) -> float:
    training = load(spec, datasets.load(DEFAULT_PROJECT, spec.dataset), Limits()).training
    with threadpool_limits(spec.training.threads):
        began = time.perf_counter()
        for _ in training.run(lambda: False):
            pass
        return time.perf_counter() - began


def recorded_seconds(spec: Job, database: Database, datasets: Datasets) -> float:
    snapshot = Intake(database, datasets, Limits(), ring=lambda _id: None).submit(DEFAULT_PROJECT, spec).answer
    runner = Runner(database, datasets, Settings(), threading.Event(), "wrk_bench", lambda _: None)
    began = time.perf_counter()
    assert runner.run_job(snapshot["id"]) == "succeeded"
    return time.perf_counter() - began


def measure_on(label: str, url: str, folder: str) -> None:
    database = Database(url)
    upgrade(database.engine)
    datasets = Datasets(database, Storage(folder), Limits())
    trial = bare_seconds(job_of(100), datasets) / 100
    spec = job_of(round(12 / trial))
    ratios = [recorded_seconds(spec, database, datasets) / bare_seconds(spec, datasets) for _ in range(3)]
    text = ", ".join(f"{(ratio - 1):+.1%}" for ratio in ratios)
    print(f"{label:11} {spec.training.epochs} epochs of digits, recorded against bare, three pairs: {text}")
    database.close()


def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure_on("SQLite", f"sqlite:///{Path(folder) / 'bench.db'}", folder)
        with postgresql() as url:
            measure_on("PostgreSQL", url.replace("postgresql://", "postgresql+psycopg://"), folder)
