"""The store of jobs against a model in a dictionary: random histories of clients, workers, crashes and rescues."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select, update

from tests.conftest import spec_of
from tests.faults.invariants import recorded
from tests.worker.records.test_curves import points
from worker.data.storage import Storage
from worker.errors import LeaseLostError, StateError
from worker.intake.datasets import Datasets
from worker.intake.design import design_job
from worker.records.clock import seconds_from_now
from worker.records.curves import record_epochs
from worker.records.holding import CRASHES_LIMIT
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.lease import Claim, claim_job, guard, rescue_job
from worker.records.new_jobs import submit_job
from worker.records.queue_room import QueueRoom
from worker.records.sessions import Database
from worker.records.states import CHANGES, FINAL, HELD, MOVES, Change, Status
from worker.records.tables import Event, Job
from worker.records.transitions import change_status, end_attempt
from worker.settings import Limits

ORPHANS: dict[Status, Status] = {"running": "queued", "pausing": "paused", "cancelling": "cancelled"}


@dataclass
class Expected:
    """What the model knows about a job. claims: every attempt so far. expired: whether its lease has expired."""

    status: Status = "queued"
    attempt: int = 0
    epoch: int = 0
    crashes: int = 0
    expired: bool = False
    claims: list[Claim] = field(default_factory=list)

    def holds(self, claim: Claim) -> bool:
        return self.status in HELD and claim.attempt == self.attempt


class Store(RuleBasedStateMachine):
    """Every rule acts on the store and on the model, and compares the results."""

    database: Database
    plan: Any
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, Expected] = {}

    @rule(target=jobs)
    def submit(self) -> str:
        snapshot, *_ = self.database.write(
            lambda session: submit_job(session, DEFAULT_PROJECT, spec_of(), self.plan, room=QueueRoom(Job, 1000))
        )
        self.model[snapshot["id"]] = Expected()
        return str(snapshot["id"])

    @rule(job_id=jobs)
    def claim(self, job_id: str) -> None:
        known = self.model[job_id]
        claim = self.database.write(lambda session: claim_job(session, job_id, owner="wrk", lease_seconds=60))
        assert (claim is not None) == (known.status == "queued")
        if claim is not None:
            known.status, known.attempt, known.expired = "running", known.attempt + 1, False
            assert (claim.attempt, claim.epoch) == (known.attempt, known.epoch)
            known.claims.append(claim)

    @rule(job_id=jobs, which=st.integers(0, 3))
    def beat(self, job_id: str, which: int) -> None:
        """An attempt of any age beats: only the one that holds the job may write, even after its lease has expired."""
        known = self.model[job_id]
        for claim in known.claims[-1 - which : len(known.claims) - which]:
            try:
                guarded = self.database.write(lambda session, claim=claim: guard(session, claim))  # type: ignore[misc]
            except LeaseLostError:
                assert not known.holds(claim)
            else:
                assert known.holds(claim)
                assert guarded.status == known.status
                known.expired = False

    @rule(job_id=jobs, which=st.integers(0, 3), epochs=st.integers(1, 3))
    def record(self, job_id: str, which: int, epochs: int) -> None:
        """An attempt of any age records the next epochs; an older one is refused."""
        known = self.model[job_id]
        for claim in known.claims[-1 - which : len(known.claims) - which]:
            found = points(known.epoch + 1, known.epoch + epochs)
            try:
                self.database.write(
                    lambda session, claim=claim, found=found: record_epochs(  # type: ignore[misc]
                        session, claim, found, recorded=known.epoch, eta_seconds=1.0
                    )
                )
            except LeaseLostError:
                assert not known.holds(claim)
            else:
                assert known.holds(claim)
                known.epoch, known.crashes, known.expired = known.epoch + epochs, 0, False

    @rule(job_id=jobs)
    def crash(self, job_id: str) -> None:
        """The worker dies and its lease expires."""
        known = self.model[job_id]
        late = update(Job).where(Job.id == job_id, Job.status.in_(HELD)).values(lease_until=seconds_from_now(-1))
        self.database.write(lambda session: session.execute(late))
        known.expired = known.status in HELD

    @rule(job_id=jobs, behind=st.integers(0, 1))
    def rescue(self, job_id: str, behind: int) -> None:
        """The rescuer may have looked before the newest attempt."""
        known = self.model[job_id]
        moved = self.database.write(lambda session: rescue_job(session, job_id, known.attempt - behind))
        if behind or not known.expired:
            assert moved is None
            return
        status = ORPHANS[known.status]
        if status == "queued":
            known.crashes += 1
            status = "failed" if known.crashes >= CRASHES_LIMIT else "queued"
        assert moved == status
        known.status, known.expired = status, False

    @rule(job_id=jobs, change=st.sampled_from(sorted(CHANGES)))
    def ask(self, job_id: str, change: Change) -> None:
        known = self.model[job_id]
        try:
            job = self.database.write(lambda session: change_status(session, DEFAULT_PROJECT, job_id, change))
        except StateError:
            assert change not in MOVES[known.status].asked
            return
        known.status = MOVES[known.status].asked[change]
        known.expired = known.expired and known.status in HELD
        assert job.status == known.status

    @rule(job_id=jobs, which=st.integers(0, 2), status=st.sampled_from(["succeeded", "failed", "queued", "paused"]))
    def end(self, job_id: str, which: int, status: Status) -> None:
        """An attempt of any age ends; only a job that was asked to pause can be paused."""
        known = self.model[job_id]
        for claim in known.claims[-1 - which : len(known.claims) - which]:
            try:
                left_in = self.database.write(lambda session, claim=claim: end_attempt(session, claim, status))  # type: ignore[misc]
            except LeaseLostError:
                assert not known.holds(claim)
                continue
            except ValueError:
                assert (known.status, status) == ("running", "paused")
                continue
            assert known.holds(claim)
            # a client's wish goes before a release, an end before both
            wish = {"cancelling": "cancelled", "pausing": "paused"}.get(known.status, status)
            assert left_in == (status if status in FINAL else wish)
            known.status, known.expired = left_in, False

    @invariant()
    def the_record_is_the_model(self) -> None:
        with self.database.reading() as session:
            for job_id, known in self.model.items():
                job = session.get_one(Job, job_id)
                assert (job.status, job.attempt, job.epoch, job.crashes) == (
                    known.status,
                    known.attempt,
                    known.epoch,
                    known.crashes,
                )
                assert (job.owner is not None) == (known.status in HELD) == (job.lease_until is not None)
                numbers = recorded(session, job_id)["seq"].tolist()
                numbers += session.scalars(select(Event.seq).where(Event.job_id == job_id))
                assert sorted(numbers) == list(range(1, job.seq + 1))
                ends = session.scalar(select(func.count()).where(Event.job_id == job_id, Event.kind == "end"))
                assert ends == (job.status in FINAL)


@pytest.mark.slow
def test_the_store_of_jobs_does_what_its_model_does(database: Database, tmp_path: Any) -> None:
    """They agree whatever clients, workers, crashes and rescues do, in any order, on both databases."""
    datasets = Datasets(database, Storage(str(tmp_path / "storage")), Limits())
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    plan = design_job(spec_of(), DEFAULT_PROJECT, datasets, Limits()).job_columns
    store = type("StoreHere", (Store,), {"database": database, "plan": plan})
    effort = settings(max_examples=15, stateful_step_count=40, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(store, settings=effort)
