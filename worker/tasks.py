"""Celery at the edge: `celery -A worker.tasks worker`. The one task, and what a worker's processes start and stop."""

import os
from typing import Any

# before NumPy loads: two BLAS threads a process made small networks three times slower under load
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from celery import signals

from worker.data.storage import Storage
from worker.log import configure_log
from worker.queue import RUN, Doorbell, make_app
from worker.records.identifiers import new_id
from worker.records.sessions import Database
from worker.rescue import Rescue
from worker.running.run import Runner
from worker.running.stopping import ShutdownFlag
from worker.running.tables import Tables
from worker.settings import Settings

app = make_app(Settings)

shutdown = ShutdownFlag()
"Made before the fork, so that parent and children share it."


class Process:
    """What this process opened. A child opens its own after the fork; the parent has the rescue thread."""

    runner: Runner | None = None
    rescue: Rescue | None = None
    worker_id = ""


@app.task(name=RUN, ignore_result=True)
def run(job_id: str) -> None:
    """Run a job. The message is a hint from a queue that others can write to: only a job's id is believed."""
    assert Process.runner is not None  # noqa: S101 - worker_process_init has seen to it
    if isinstance(job_id, str) and not shutdown.is_raised:
        Process.runner.run_job(job_id)


@signals.setup_logging.connect
def _set_up_log(**_: Any) -> None:
    configure_log(Settings().log_level)


@signals.worker_init.connect
def _parent_begins(**_: Any) -> None:
    Process.worker_id = new_id("wrk")
    # what the first job would wait for: imported once, before the fork, its memory shared by the children
    import sklearn.datasets
    import sklearn.metrics
    import sklearn.model_selection  # noqa: F401


@signals.worker_process_init.connect
def _child_begins(**_: Any) -> None:
    settings = Settings()
    database = Database(settings.database, pool_size=2)
    Process.runner = Runner(
        database=database,
        tables=Tables(database, Storage(settings.storage), settings.limits),
        settings=settings,
        shutdown=shutdown,
        owner=Process.worker_id,
        announce=Doorbell(settings).announce,
    )


@signals.worker_ready.connect
def _parent_is_ready(**_: Any) -> None:
    settings = Settings()
    Process.rescue = Rescue(Database(settings.database, pool_size=1), Doorbell(settings), settings, Process.worker_id)
    Process.rescue.start()


@signals.worker_shutting_down.connect
def _parent_ends(**_: Any) -> None:
    # called by the signal's handler: nothing here may wait. Running jobs take a checkpoint and are released at their
    # next batch
    shutdown.raise_()
    if Process.rescue is not None:
        Process.rescue.ask_to_end()


@signals.worker_shutdown.connect
def _parent_ended(**_: Any) -> None:
    if Process.rescue is not None:
        Process.rescue.join(timeout=5)
