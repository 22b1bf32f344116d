"""The table of statuses against the design, against the database's trigger, and against what the code does."""

from collections.abc import Callable
from typing import get_args

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from worker.errors import LeaseLostError, StateError
from worker.records.clock import seconds_from_now
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.lease import Claim, claim_job, rescue_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.states import CHANGES, FINAL, HELD, MOVES, OPEN, STATUSES, PredictionStatus, Status, targets
from worker.records.tables import Job
from worker.records.transitions import change_status, end_attempt

# copied from the design by hand, not computed from the code
DESIGN: dict[Status, set[Status]] = {
    "queued": {"running", "cancelled", "paused"},
    "running": {"succeeded", "failed", "pausing", "cancelling", "queued"},
    "pausing": {"paused", "cancelling", "succeeded", "failed"},
    "paused": {"queued", "cancelled"},
    "cancelling": {"cancelled", "succeeded", "failed"},
    "succeeded": set(),
    "failed": set(),
    "cancelled": set(),
}

# how a client and a worker bring a new job to each status
WAYS: dict[Status, tuple[str, ...]] = {
    "queued": (),
    "running": ("claim",),
    "pausing": ("claim", "pause"),
    "paused": ("pause",),
    "cancelling": ("claim", "cancel"),
    "succeeded": ("claim", "end succeeded"),
    "failed": ("claim", "end failed"),
    "cancelled": ("cancel",),
}
ACTIONS = ("claim", "expire", *CHANGES, *(f"end {status}" for status in STATUSES))


def test_the_table_is_the_designs() -> None:
    """From each status the table allows exactly the moves that the design has."""
    assert {status: set(targets(status)) for status in MOVES} == DESIGN


def test_every_status_has_its_row() -> None:
    """No status is left out of the table, and no row is one of an unknown status."""
    assert set(MOVES) == set(STATUSES) == set(DESIGN)


def test_held_and_final_statuses_follow_from_the_table() -> None:
    """A worker owns three statuses, three are the end, and every other is open."""
    assert set(HELD) == {"running", "pausing", "cancelling"}
    assert set(FINAL) == {"succeeded", "failed", "cancelled"}
    assert set(OPEN) == set(STATUSES) - set(FINAL)


def test_a_prediction_has_the_statuses_that_a_client_can_not_ask_for() -> None:
    """From queued, without any change that a client asks for, it reaches exactly the statuses of its own type."""
    reached: set[Status] = set()
    left: list[Status] = ["queued"]
    while left:
        status = left.pop()
        reached.add(status)
        moves = MOVES[status]
        found = {moves.claimed, moves.expired, *moves.ended.values()} - {None}
        left += [target for target in found if target not in reached and target is not None]
    assert reached == set(get_args(PredictionStatus))


@pytest.fixture
def act(database: Database) -> Callable[[str, str], None]:
    """Do to a job, with its newest attempt, what a client, a worker or rescue may do; refusals leave it as it is."""

    def act(job_id: str, action: str) -> None:
        with database.reading() as session:
            job = get_job(session, DEFAULT_PROJECT, job_id)
        claim = Claim(job_id, DEFAULT_PROJECT, job.attempt, job.epoch, job.spec, 30, None)
        try:
            if action == "claim":
                database.write(lambda session: claim_job(session, job_id, owner="w", lease_seconds=30))
            elif action == "expire":
                late = update(Job).where(Job.id == job_id).values(lease_until=seconds_from_now(-1))
                database.write(lambda session: session.execute(late))
                database.write(lambda session: rescue_job(session, job_id, job.attempt))
            elif action.startswith("end "):
                wanted = next(status for status in STATUSES if action == f"end {status}")
                database.write(lambda session: end_attempt(session, claim, wanted))
            else:
                change = next(change for change in CHANGES if change == action)
                database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, change))
        except (LeaseLostError, StateError, ValueError):
            pass

    return act


@pytest.mark.parametrize("status", STATUSES)
def test_the_code_moves_a_job_as_the_design_says(
    database: Database, submit: Callable[..., Snapshot], act: Callable[[str, str], None], status: Status
) -> None:
    """Clients, workers and rescue together reach every status that the design has after this one, and no other."""
    reached = set()
    for action in ACTIONS:
        job_id = submit()["id"]
        for step in WAYS[status]:
            act(job_id, step)
        with database.reading() as session:
            assert get_job(session, DEFAULT_PROJECT, job_id).status == status
        act(job_id, action)
        with database.reading() as session:
            reached.add(get_job(session, DEFAULT_PROJECT, job_id).status)
    assert reached - {status} == DESIGN[status]


@pytest.mark.parametrize("status", STATUSES)
def test_the_databases_trigger_knows_the_same_final_statuses(
    database: Database, submit: Callable[..., Snapshot], act: Callable[[str, str], None], status: Status
) -> None:
    """A bare UPDATE of the status is refused where the table has no way out, and nowhere else."""
    job_id = submit()["id"]
    for step in WAYS[status]:
        act(job_id, step)
    other = "queued" if status != "queued" else "running"
    change = update(Job).where(Job.id == job_id).values(status=other)
    if targets(status):
        database.write(lambda session: session.execute(change))
    else:
        with pytest.raises(IntegrityError, match="a final job is not changed"):
            database.write(lambda session: session.execute(change))
