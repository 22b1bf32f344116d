"""The columns of the curve: one list, which the table of the database follows; and the best epoch so far."""

from collections.abc import Callable
from dataclasses import replace

from tests.worker.records.test_records import points
from worker.backprop.plan import Epoch as TrainedEpoch
from worker.records.curves import record_epochs
from worker.records.events import happenings_after
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.lease import Claim
from worker.records.points import COLUMNS, FIGURES
from worker.records.sessions import Database
from worker.records.tables import Epoch


def test_the_tables_columns_are_those_of_a_point() -> None:
    """Besides what says whose epoch it is and when it was recorded."""
    assert set(Epoch.__table__.columns.keys()) - {"job_id", "project_id", "seq", "attempt"} == set(COLUMNS)


def test_every_figure_of_a_trained_epoch_is_recorded() -> None:
    """Only an ensemble's figures of each member are not, and the time is measured where it is recorded."""
    assert set(TrainedEpoch._fields) - {"members"} | {"seconds"} == set(COLUMNS)


def test_a_columns_order_is_kept() -> None:
    """Clients read CSV by position: new columns come after these."""
    assert FIGURES[:6] == ("epoch", "train_loss", "validation_loss", "learning_rate", "gradient_norm", "seconds")


def test_the_best_epoch_is_the_last_that_was_the_best_so_far(database: Database, claimed: Callable[..., Claim]) -> None:
    """Whatever its loss is; a flush without one leaves the best as it is, and each event says whether it was one."""
    claim = claimed()
    is_best = {1: True, 2: False, 3: True, 4: False, 5: False}
    curve = [replace(point, is_best=is_best[point.epoch]) for point in points(1, 5)]
    for recorded, flush in ((0, curve[:4]), (4, curve[4:])):
        database.write(
            lambda session, recorded=recorded, flush=flush: record_epochs(  # type: ignore[misc]
                session, claim, flush, recorded=recorded, eta_seconds=0.0
            )
        )
        with database.reading() as session:
            job = get_job(session, DEFAULT_PROJECT, claim.job_id)
            found = happenings_after(session, claim.job_id, 0, limit=10)
        assert job.best == curve[2].summary
    assert {one.payload["epoch"]: one.payload["is_best"] for one in found if one.kind == "epoch"} == is_best


def test_a_repeated_epoch_does_not_become_the_best_again(database: Database, claimed: Callable[..., Claim]) -> None:
    """A resumed run repeats epoch 1; the best is still epoch 2, which an earlier attempt recorded."""
    claim = claimed()
    for recorded, flush in ((0, points(1, 2)), (2, points(1, 1))):
        database.write(
            lambda session, recorded=recorded, flush=flush: record_epochs(  # type: ignore[misc]
                session, claim, flush, recorded=recorded, eta_seconds=0.0
            )
        )
    with database.reading() as session:
        assert get_job(session, DEFAULT_PROJECT, claim.job_id).best == points(2, 2)[0].summary
