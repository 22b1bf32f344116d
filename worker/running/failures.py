"""What went wrong with a job, in the words of its record."""

from typing import NamedTuple

import structlog

from worker.errors import DataError, DivergedError, FigureError, SpecError
from worker.specs.job import Job

log = structlog.get_logger()


class Failure(NamedTuple):
    """epoch: where one is to blame."""

    code: str
    message: str
    epoch: int | None


def failure_of(error: Exception, spec: Job) -> Failure:
    """The one place where a job's errors are translated. What is an error of ours goes into the log, not the record."""
    match error:
        case DivergedError():
            rate = spec.training.optimizer.learning_rate
            return Failure("diverged", f"{error}; try a learning rate of {rate / 10:g} or less", error.epoch)
        case FigureError():
            return Failure("invalid_data", str(error), 1)
        case SpecError():
            return Failure("invalid_data", str(error), None)
        case DataError():
            return Failure("invalid_data", error.sentence, None)
        case MemoryError():
            message = "the worker ran out of memory; use a smaller network, batch or table"
            return Failure("out_of_memory", message, None)
        case _:
            log.error("internal_error", exc_info=error)
            return Failure("internal", "an error of ours; the worker's log has it under this job's id", None)
