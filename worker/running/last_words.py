"""What is said of a run at its end besides its figures. None of it may cost the job that end."""

from typing import Any

import structlog

from worker.backprop.fit import Training
from worker.insight.certificate import certify, skipped
from worker.insight.hints import hints_of
from worker.records.curves import read_curve
from worker.records.sessions import Database

log = structlog.get_logger()

# of the curve, for the words about it
HINT_POINTS = 600


def hints_for(database: Database, job_id: str) -> list[dict[str, str]]:
    """Words about the curve."""
    try:
        with database.reading() as session:
            points = read_curve(session, job_id, max_points=HINT_POINTS)
        return hints_of(points)
    except Exception as error:
        log.exception("no_hints", error=repr(error))
        return []


def certificate_for(training: Training) -> dict[str, Any]:
    """The proof of the gradients."""
    try:
        return certify(training)
    except Exception as error:
        log.exception("no_certificate", error=repr(error))
        return skipped("it could not be computed; the worker's log says why")
