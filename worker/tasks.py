"""The Celery worker, `celery -A worker.tasks worker`: its only task, and what starts and stops with it."""

import os
from typing import Any

# before NumPy is imported: two BLAS threads per process made small networks three times slower under load
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import structlog
from celery import signals

from worker.broker.app import RUN, make_app
from worker.broker.doorbell import Doorbell
from worker.broker.exposure import check_broker
from worker.processes.parent import TrainingProcesses
from worker.records.connections import WORKER_CONNECTIONS
from worker.records.identifiers import new_id
from worker.records.sessions import Database
from worker.rescue import Rescue
from worker.runtime import configure_log
from worker.settings import Settings
from worker.sweeping import Sweeper

log = structlog.get_logger()

app = make_app(Settings)


class Worker:
    """The parts of this worker that run beside Celery."""

    processes: TrainingProcesses | None = None
    rescue: Rescue | None = None
    sweeper: Sweeper | None = None


@app.task(name=RUN, ignore_result=True)
def run(job_id: str) -> None:
    """Run what has waited longest. The message says no more than `look now`: others can write to the queue.

    job_id: the job or prediction that it was made for.
    """
    assert Worker.processes is not None  # noqa: S101 - _begin has set it
    if isinstance(job_id, str):
        Worker.processes.run(job_id)


@signals.setup_logging.connect
def _keep_log(**_: Any) -> None:
    """Do nothing: as long as this is connected, Celery does not configure the log, which `_begin` does."""


# not at worker_init: after that, Celery changes the environment, which is no safe thing to do beside other threads. (It
# does so once more on macOS.)
@signals.celeryd_after_setup.connect
def _begin(**_: Any) -> None:
    try:
        _start_parts(Settings())
    except Exception as error:
        # Celery would log it and go on, as a worker that receives jobs and can run none
        log.exception("not_started", error=repr(error))
        raise SystemExit(1) from error


def _start_parts(settings: Settings) -> None:
    configure_log(settings.log_level)
    check_broker(settings)
    worker_id = new_id("wrk")
    doorbell = Doorbell(settings)
    # this deletes a key with the queue's name that is not a list, before Celery reads it
    doorbell.waiting()
    processes = TrainingProcesses(
        worker_id,
        lambda death: rescue.process_died(death.pid, death.how),
        silence_seconds=settings.lease.silence_seconds,
        stall_seconds=settings.stall_seconds,
    )
    database = Database(settings.database, name="gradmill worker", pool_size=1, overflow=WORKER_CONNECTIONS - 1)
    rescue = Rescue(database, doorbell, settings, worker_id, processes)
    Worker.processes, Worker.rescue, Worker.sweeper = processes, rescue, Sweeper(settings)
    processes.start(settings.workers)


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    # Celery's consumer is up: from now on, a worker that receives no job though some wait is deaf
    if Worker.rescue is not None:
        Worker.rescue.start()
    if Worker.sweeper is not None:
        Worker.sweeper.start()


@signals.worker_shutting_down.connect
def _end(**_: Any) -> None:
    # called by a signal handler, so nothing here may wait. Running jobs take a checkpoint at their next batch and are
    # released
    if Worker.processes is not None:
        Worker.processes.ask_to_end()
    if Worker.rescue is not None:
        Worker.rescue.ask_to_end()
    if Worker.sweeper is not None:
        Worker.sweeper.ask_to_end()


@signals.worker_shutdown.connect
def _ended(**_: Any) -> None:
    if Worker.rescue is not None and Worker.rescue.is_alive():
        Worker.rescue.join(timeout=5)
