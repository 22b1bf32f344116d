"""One attempt at a queued job or prediction: claim its row, renew the lease during the work, and end it once."""

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog
from sqlalchemy.orm import Session

from worker.errors import (
    DataError,
    DivergedError,
    FigureError,
    LeaseLostError,
    MissingBytesError,
    NotFoundError,
    SpecError,
    StorageFullError,
    UnavailableError,
)
from worker.records.clock import seconds_from_now
from worker.records.lease import Claim
from worker.records.predictions import PredictionClaim
from worker.records.sessions import Database
from worker.records.states import Status
from worker.running.heartbeat import Heartbeat
from worker.running.stopping import Progress, Stopping
from worker.settings import Lease, Settings

log = structlog.get_logger()

AnyClaim = TypeVar("AnyClaim", bound=Claim | PredictionClaim)

# bytes that are not in this storage are looked for 15 times, after 1, 2, 4 ... 60, 60 s: for ten minutes in all
MISSING_BYTES_ATTEMPTS = 15
MISSING_BYTES_SECONDS_MOST = 60.0


class Host(Protocol):
    """What a process provides to each attempt. owner: the id of the worker, in whose name rows are claimed."""

    @property
    def database(self) -> Database: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def shutdown(self) -> threading.Event: ...
    @property
    def owner(self) -> str: ...
    @property
    def progress(self) -> Progress: ...


class Failure(NamedTuple):
    """The error of a failed row, as it is recorded. epoch: the epoch in which it occurred; None outside training."""

    code: str
    message: str
    epoch: int | None = None


class Attempt(ABC):
    """One attempt at one claimed row. A subclass does the work and writes the row.

    learning_rate: that of a job, once its specification has been read; None before, and for a prediction. If the job
        diverges, its error advises a smaller one.
    """

    learning_rate: float | None = None

    def __init__(self, host: Host, claim: Claim | PredictionClaim) -> None:
        self.database = host.database
        self.lease = Lease(claim.lease_seconds)
        self.stopping = Stopping(host.shutdown, host.progress, self.lease)

    @abstractmethod
    def work(self) -> Status | None:
        """Do the work and end the attempt. Return the status that the row then has; None if the lease was lost."""

    @abstractmethod
    def renew(self, session: Session) -> Status:
        """Renew the lease and return the row's status. Raises LeaseLostError."""

    @abstractmethod
    def read_status(self, session: Session) -> Status:
        """Return the row's status without writing. Raises LeaseLostError."""

    @abstractmethod
    def write_end(self, session: Session, status: Status, **values: Any) -> Status:
        """Write the end of the attempt, with these values. Return the status that the row then has.

        status: the status that the worker reports; a client's pause or cancel may change it: see `records.states`.
        Raises LeaseLostError.
        """

    @abstractmethod
    def times_missing(self, session: Session) -> int:
        """Return how many attempts just before this one did not find the bytes of the dataset."""

    @abstractmethod
    def report_missing(self, session: Session, payload: dict[str, Any]) -> None:
        """Report to the row's watchers that the bytes of the dataset are missing. Raises LeaseLostError."""

    def run(self) -> Status | None:
        """Work until the attempt ends. Return the status that the row then has; None if the lease was lost."""
        heartbeat = Heartbeat(self.database, self.stopping, self.lease, renew=self.renew, read_status=self.read_status)
        heartbeat.start()
        try:
            return self._work_to_an_end()
        finally:
            heartbeat.end()

    def _work_to_an_end(self) -> Status | None:
        try:
            try:
                return self.work()
            except MissingBytesError as error:
                return self._put_back(error)
        except (LeaseLostError, UnavailableError) as error:
            # nothing can be written. If the lease is still ours, it will expire, and rescue will queue the row again
            log.warning("attempt_lost", error=str(error))
            return None
        except Exception as error:  # noqa: BLE001 - whatever the error, it is recorded and ends the attempt
            failure = failure_of(error, self.learning_rate)
        # outside the except clause, which would keep the run's arrays alive: memory may be what ran out
        return self.fail(failure)

    def _put_back(self, error: MissingBytesError) -> Status | None:
        """Queue the row again for a later attempt, perhaps by a worker that has the bytes.

        Raises the error if this was the last attempt.
        """
        with self.database.reading() as session:
            tried = self.times_missing(session) + 1
        if tried >= MISSING_BYTES_ATTEMPTS:
            raise error
        wait = min(2.0 ** (tried - 1), MISSING_BYTES_SECONDS_MOST)
        log.warning("storage_missing", key=error.key, tried=tried, again_in_seconds=wait, message=str(error))

        def work(session: Session) -> Status:
            payload = {"dataset_id": error.key, "tried": tried, "again_in_seconds": wait, "message": str(error)}
            self.report_missing(session, payload)
            # workers ring again for a row a second after its `dispatched_at`, so it waits until then
            return self.write_end(session, "queued", dispatched_at=seconds_from_now(wait))

        return self._write_last("queued", work)

    def end(self, status: Status, **values: Any) -> Status | None:
        """End the attempt. Return the status that the row then has; None if it could not be written."""
        return self._write_last(status, lambda session: self.write_end(session, status, **values))

    def fail(self, failure: Failure) -> Status | None:
        log.info("attempt_failed", code=failure.code, message=failure.message)
        return self.end("failed", error=failure._asdict())

    def _write_last(self, status: Status, work: Callable[[Session], Status]) -> Status | None:
        try:
            return self.database.write(work)
        except (LeaseLostError, UnavailableError) as error:
            log.warning("end_not_recorded", status=status, error=str(error))
            return None


def claim_for(host: Host, claim_row: Callable[..., AnyClaim | None]) -> AnyClaim | None:
    """Claim a row in the name of this process. Raises UnavailableError.

    claim_row: called with a session, `owner`, `pid` and `lease_seconds`.
    """
    known = {"owner": host.owner, "pid": os.getpid(), "lease_seconds": host.settings.lease_seconds}
    return host.database.write(lambda session: claim_row(session, **known))


def attempt_row(claim: Claim | PredictionClaim, row_id: str, attempt: Attempt) -> Status | None:
    """Make the attempt, with its ids in each line of the log. Return the status that the row then has.

    None if the lease was lost. An error in the work is recorded in the row and not raised.
    """
    known = {"job_id": row_id, "attempt": claim.attempt, "request_id": claim.request_id}
    with structlog.contextvars.bound_contextvars(**known):
        began = time.monotonic()
        status = attempt.run()
        log.info("attempt_ended", status=status, seconds=round(time.monotonic() - began, 3))
        return status


def failure_of(error: Exception, learning_rate: float | None = None) -> Failure:
    """Return the recorded form of the error that ended an attempt. This is the only place that translates errors.

    An unexpected error is written to the log, and its text is kept out of the record.
    """
    match error:
        case DivergedError():
            advice = "" if learning_rate is None else f"; try a learning rate of {learning_rate / 10:g} or less"
            return Failure("diverged", f"{error}{advice}", error.epoch)
        case FigureError():
            return Failure("invalid_data", str(error), 1)
        case DataError() | SpecError() | NotFoundError():
            return Failure("invalid_data", error.sentence if isinstance(error, DataError) else str(error))
        case StorageFullError() | MissingBytesError():
            return Failure("internal", str(error))
        case MemoryError():
            return Failure("out_of_memory", "the worker ran out of memory; use a smaller network, batch or table")
        case _:
            log.error("internal_error", exc_info=error)
            return Failure("internal", "an error in gradmill; the worker's log has it under this id")
