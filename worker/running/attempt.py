"""One attempt at a queued row: claim it, show signs of life while it is worked on, and end it in exactly one way."""

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

# bytes that are not here are looked for 15 times, after 1, 2, 4 ... 60, 60 s: for ten minutes in all
MISSING_BYTES_ATTEMPTS = 15
MISSING_BYTES_SECONDS_MOST = 60.0


class Host(Protocol):
    """What a process provides to each attempt. owner: the worker's id, in whose name rows are claimed."""

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
    """The error of a failed row, as its record shows it. epoch: the epoch at fault, if it is one."""

    code: str
    message: str
    epoch: int | None = None


class Attempt(ABC):
    """One attempt at one claimed row. A subclass says what the work is and how its row is written.

    learning_rate: of a job, once its specification has been read; a smaller one is the advice if it diverges.
    """

    learning_rate: float | None = None

    def __init__(self, host: Host, claim: Claim | PredictionClaim) -> None:
        self.database = host.database
        self.lease = Lease(claim.lease_seconds)
        self.stopping = Stopping(host.shutdown, host.progress, self.lease)

    @abstractmethod
    def work(self) -> Status | None:
        """Do the work and end the attempt. Return the status that the row is left in; None if the lease was lost."""

    @abstractmethod
    def renew(self, session: Session) -> Status:
        """Renew the lease and return the row's status. Raises LeaseLostError."""

    @abstractmethod
    def look(self, session: Session) -> Status:
        """Return the row's status without writing. Raises LeaseLostError."""

    @abstractmethod
    def write_end(self, session: Session, status: Status, **values: Any) -> Status:
        """Give the row up to this status, with these values. Return the status it got. Raises LeaseLostError."""

    @abstractmethod
    def times_missing(self, session: Session) -> int:
        """Return how many earlier attempts in a row did not find the bytes of the dataset."""

    @abstractmethod
    def note_missing(self, session: Session, payload: dict[str, Any]) -> None:
        """Tell the row's watchers that the bytes are missing. Raises LeaseLostError."""

    def run(self) -> Status | None:
        """Return the status that the row was left in; None if the lease was lost."""
        heartbeat = Heartbeat(self.database, self.stopping, self.lease, renew=self.renew, look=self.look)
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
            # nothing can be written. If the lease was still ours it runs out, and rescue gives the row to another
            log.warning("attempt_lost", error=str(error))
            return None
        except Exception as error:  # noqa: BLE001 - whatever a row asks for, its attempt ends in the record
            failure = failure_of(error, self.learning_rate)
        # after the except clause, which would keep the run's arrays alive: memory may be what was short
        return self.fail(failure)

    def _put_back(self, error: MissingBytesError) -> Status | None:
        """Queue the row for a later attempt, perhaps by a worker that has the bytes. Raises the error at the last."""
        with self.database.reading() as session:
            tried = self.times_missing(session) + 1
        if tried >= MISSING_BYTES_ATTEMPTS:
            raise error
        wait = min(2.0 ** (tried - 1), MISSING_BYTES_SECONDS_MOST)
        log.warning("storage_missing", key=error.key, tried=tried, again_in_seconds=wait, message=str(error))

        def work(session: Session) -> Status:
            payload = {"dataset_id": error.key, "tried": tried, "again_in_seconds": wait, "message": str(error)}
            self.note_missing(session, payload)
            # workers ring for a row a second after its moment of dispatch: until then it rests
            return self.write_end(session, "queued", dispatched_at=seconds_from_now(wait))

        return self._write_last("queued", work)

    def end(self, status: Status, **values: Any) -> Status | None:
        """Give the row up to this status. Return the status it got; None if that could not be written."""
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
    """Make the attempt, with its ids in each line of the log. Return the status that the row was left in.

    None if the lease was lost. Never raises for what a row asks for, which ends in its record.
    """
    known = {"job_id": row_id, "attempt": claim.attempt, "request_id": claim.request_id}
    with structlog.contextvars.bound_contextvars(**known):
        began = time.monotonic()
        status = attempt.run()
        log.info("attempt_ended", status=status, seconds=round(time.monotonic() - began, 3))
        return status


def failure_of(error: Exception, learning_rate: float | None = None) -> Failure:
    """Translate the error that ended an attempt: the only place where that is done.

    An error of ours is written to the log, and its text is kept out of the record.
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
            return Failure("internal", "an error of ours; the worker's log has it under this id")
