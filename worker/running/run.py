"""Runs one job: load it, train it, record it, and end the attempt in the way that fits what stopped it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy.orm import Session

from worker.backprop.fit import Training
from worker.data.arrow_streams import write_arrow_stream
from worker.errors import DivergedError, SpecError
from worker.insight.certificate import certify, skipped
from worker.insight.hints import hints_of
from worker.intake.datasets import Datasets
from worker.intake.start import read_start
from worker.networks.trained import Trained, to_columns
from worker.records.checkpoints import drop_checkpoints
from worker.records.curves import read_curve
from worker.records.events import count_recent_events
from worker.records.lease import Claim, claim_job, guard, held_status, record_event
from worker.records.sessions import Database
from worker.records.states import FINAL, Status
from worker.records.transitions import end_attempt
from worker.records.versions import register_version
from worker.records.weights import find_weights_id
from worker.running.attempt import Attempt, Failure, attempt_row, claim_for
from worker.running.loading import Loaded, evaluate, held_out_predictions, load
from worker.running.recorder import Recorder, snapshot_epochs
from worker.running.resuming import fingerprint, libraries, resume
from worker.running.stopping import Progress, Reason
from worker.runtime import uptime
from worker.settings import Settings
from worker.specs.job import Job

log = structlog.get_logger()

# how many points of the curve the hints are computed from
HINT_POINTS = 600


@dataclass(frozen=True)
class Runner:
    """What a process needs to run jobs.

    owner: the id of the worker, in whose name jobs are claimed.
    announce: called with a job's id when its record has changed.
    progress: counts the steps, for the worker that watches this process.
    """

    database: Database
    datasets: Datasets
    settings: Settings
    shutdown: threading.Event
    owner: str
    announce: Callable[[str], None]
    progress: Progress = field(default_factory=Progress)

    def run_claim(self, claim: Claim) -> Status | None:
        """Run the job that was claimed. Return the status that it then has; None if the lease was lost."""
        return attempt_row(claim, claim.job_id, JobAttempt(self, claim))

    def run_job(self, job_id: str) -> Status | None:
        """Run this job. Return the status that it then has; None if it is not queued, or the lease was lost."""
        claim = claim_for(self, partial(claim_job, job_id=job_id))
        return None if claim is None else self.run_claim(claim)


class JobAttempt(Attempt):
    """One attempt at one job."""

    def __init__(self, runner: Runner, claim: Claim) -> None:
        super().__init__(runner, claim)
        self.runner, self.claim = runner, claim

    def run(self) -> Status | None:
        self.runner.announce(self.claim.job_id)
        status = super().run()
        self.runner.announce(self.claim.job_id)
        return status

    def renew(self, session: Session) -> Status:
        return guard(session, self.claim).status

    def read_status(self, session: Session) -> Status:
        return held_status(session, self.claim)

    def times_missing(self, session: Session) -> int:
        return count_recent_events(session, self.claim.job_id, "storage_missing")

    def report_missing(self, session: Session, payload: dict[str, Any]) -> None:
        record_event(session, self.claim, "storage_missing", payload)

    def write_end(self, session: Session, status: Status, **values: Any) -> Status:
        left_in = end_attempt(session, self.claim, status, **values)
        if left_in in FINAL:
            drop_checkpoints(session, self.claim.job_id)
        return left_in

    def end(self, status: Status, **values: Any) -> Status | None:
        if status in ("failed", "cancelled"):
            values["hints"] = self._hints()
        return super().end(status, **values)

    def work(self) -> Status | None:
        self.spec = read_spec(self.claim)
        training = self.spec.training
        self.learning_rate = training.optimizer.learning_rate
        self.stopping.limit(max_seconds=training.max_seconds, checkpoint_seconds=training.checkpoint_seconds)
        with libraries().limit(limits=training.threads):
            return self._train()

    def _train(self) -> Status | None:
        datasets, project_id = self.runner.datasets, self.claim.project_id
        own = {part: datasets.load(project_id, table) for part, table in self.spec.training.own_tables.items()}
        table = datasets.load(project_id, self.spec.dataset)
        loaded = load(self.spec, table, self.runner.settings.limits, self._source(), own)
        training = loaded.training
        recorder = self._recorder(loaded)
        resume(training, self.database, self.claim, recorder.fingerprint)
        try:
            reason = self._fit(training, recorder)
        except DivergedError:
            keep_steps(training, recorder)
            recorder.flush()
            raise
        if training.finished:
            return self._succeed(loaded, recorder)
        return self._stop(reason, training, recorder)

    def _source(self) -> Trained | None:
        if self.spec.start_from is None:
            return None
        with self.database.reading() as session:
            return read_start(session, self.claim.job_id)

    def _recorder(self, loaded: Loaded) -> Recorder:
        spec = self.spec.training
        return Recorder(
            self.database,
            self.claim,
            to_columns(loaded.layers, loaded.encoders),
            epochs=spec.epochs,
            snapshots=snapshot_epochs(spec.epochs, spec.snapshots, loaded.training.parameters.flat.nbytes),
            fingerprint=fingerprint(spec.threads),
            on_write=self._written,
        )

    def _written(self, status: Status, guarded_since: float) -> None:
        """Pass on what a write has found out. guarded_since: the moment of `uptime` from which the lease counts."""
        self.runner.progress.steps += 1
        self.stopping.renewed(guarded_since)
        self.stopping.status_is(status)
        self.runner.announce(self.claim.job_id)

    def _fit(self, training: Training, recorder: Recorder) -> Reason | None:
        """Train until the end or until there is a reason to stop, taking checkpoints on the way."""
        while not training.finished:
            for epoch in training.run(self.stopping):
                keep_steps(training, recorder)
                recorder.add(epoch, training.parameters)
                if self.stopping():
                    break
            # an epoch that was stopped early may have steps to keep too
            keep_steps(training, recorder)
            reason = self.stopping.reason
            if reason == "checkpoint":
                began = time.monotonic()
                recorder.checkpoint(training.state())
                self.stopping.checkpoint_taken(time.monotonic() - began)
            elif reason == "lease_lost":
                self._take_up_again()
            elif reason is not None:
                return reason
        return None

    def _take_up_again(self) -> None:
        """Renew a lease that was not renewed in time: the database was away, or this machine slept.

        Raises LeaseLostError if another attempt has taken the job meanwhile, and UnavailableError.
        """
        began = uptime()
        status = self.database.write(self.renew)
        self.stopping.renewed(began)
        self.stopping.status_is(status)

    def _succeed(self, loaded: Loaded, recorder: Recorder) -> Status:
        recorder.flush()
        evaluation = evaluate(loaded)
        test = evaluation["test"]
        figures = {
            "evaluation": evaluation,
            "test": test and {"loss": test["loss"], "metrics": test["metrics"]},
            "hints": self._hints(),
            "certificate": certificate_of(loaded.training),
        }
        publish = [recorder.stage_final(loaded.training.final, loaded.training.final_epoch)]
        if (held_out := held_out_predictions(loaded)) is not None:
            publish.append(recorder.stage_held_out(write_arrow_stream(held_out)))

        def work(session: Session) -> Status:
            for each in publish:
                each(session)
            if self.spec.model is not None:
                weights_id = find_weights_id(session, self.claim.job_id, "final")
                register_version(session, self.claim.project_id, self.spec.model, weights_id)
            return self.write_end(session, "succeeded", **figures)

        return self.database.write(work)

    def _stop(self, reason: Reason | None, training: Training, recorder: Recorder) -> Status | None:
        if reason == "timed_out":
            recorder.flush()
            limit = self.spec.training.max_seconds
            message = f"training took longer than max_seconds, {limit:g}"
            return self.fail(Failure("timed_out", message, training.epoch))
        if reason == "cancelling":
            recorder.flush()
            return self.end("cancelled")
        recorder.checkpoint(training.state())
        return self.end("paused" if reason == "pausing" else "queued")

    def _hints(self) -> list[dict[str, str]]:
        """Return hints about the curve. If they can't be computed, return none, so that the job can still end."""
        try:
            with self.database.reading() as session:
                points = read_curve(session, self.claim.job_id, max_points=HINT_POINTS)
            return hints_of(points)
        except Exception as error:
            log.exception("no_hints", error=repr(error))
            return []


def read_spec(claim: Claim) -> Job:
    """Return the job's specification. Raises SpecError if it was stored by a version that allowed more."""
    try:
        return Job.model_validate(claim.spec)
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "/" + "/".join(map(str, first["loc"]))
        raise SpecError(pointer, f"is not taken by this version of gradmill: {first['msg']}") from error


def certificate_of(training: Training) -> dict[str, Any]:
    """Return the numerical check of the gradients. If it fails, return why, so that the job can still end."""
    try:
        return certify(training)
    except Exception as error:
        log.exception("no_certificate", error=repr(error))
        return skipped("it could not be computed; the worker's log says why")


def keep_steps(training: Training, recorder: Recorder) -> None:
    """Pass the steps whose tensors are kept, as far as they were taken since the last call, to the recorder."""
    if training.replay is not None:
        recorder.keep(training.replay.collect())
