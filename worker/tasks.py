"""Celery at the edge: `celery -A worker.tasks worker`. The one task, and what a worker's processes start and stop."""

import os
from typing import Any

# before NumPy loads: two BLAS threads a process made small networks three times slower under load
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from celery import signals

from worker.broker.doorbell import RUN, Doorbell, make_app
from worker.processes.parent import TrainingProcesses
from worker.records.identifiers import new_id
from worker.records.sessions import Database
from worker.rescue import Rescue
from worker.runtime import configure_log
from worker.settings import Settings

# a process that is starved of the processor for a few seconds is not dead
SILENCE_SECONDS_LEAST = 10.0

app = make_app(Settings)


class Worker:
    """What this worker runs beside Celery."""

    processes: TrainingProcesses | None = None
    rescue: Rescue | None = None


@app.task(name=RUN, ignore_result=True)
def run(job_id: str) -> None:
    """Run a job. The message is a hint from a queue that others can write to: only a job's id is believed."""
    assert Worker.processes is not None  # noqa: S101 - worker_init has seen to it
    if isinstance(job_id, str):
        Worker.processes.run(job_id)


@signals.setup_logging.connect
def _set_up_log(**_: Any) -> None:
    configure_log(Settings().log_level)


@signals.worker_init.connect
def _begin(**_: Any) -> None:
    settings, worker_id = Settings(), new_id("wrk")
    doorbell = Doorbell(settings)
    # an impostor in the queue's place is gone before Celery reads it
    doorbell.waiting()
    Worker.rescue = Rescue(Database(settings.database, pool_size=2), doorbell, settings, worker_id)
    Worker.processes = TrainingProcesses(
        worker_id,
        Worker.rescue.process_died,
        silence_seconds=max(settings.lease_seconds, SILENCE_SECONDS_LEAST),
        stall_seconds=settings.stall_seconds,
    )
    Worker.processes.start(settings.workers)


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    if Worker.rescue is not None:
        Worker.rescue.start()


@signals.worker_shutting_down.connect
def _end(**_: Any) -> None:
    # called by the signal's handler: nothing here may wait. Running jobs take a checkpoint and are released at their
    # next batch
    if Worker.processes is not None:
        Worker.processes.ask_to_end()
    if Worker.rescue is not None:
        Worker.rescue.ask_to_end()


@signals.worker_shutdown.connect
def _ended(**_: Any) -> None:
    if Worker.rescue is not None and Worker.rescue.is_alive():
        Worker.rescue.join(timeout=5)
