"""Run one job: claim it, load it, fit it, record it, and end the attempt in exactly one way."""

import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy.orm import Session
from threadpoolctl import threadpool_limits

from worker.backprop.fit import Training
from worker.errors import DivergedError, LeaseLostError, UnavailableError
from worker.intake.datasets import Datasets
from worker.intake.start import read_start
from worker.networks.trained import Trained, to_columns
from worker.records.checkpoints import drop_checkpoints, newest_checkpoint
from worker.records.lease import Claim, add_note, claim_job, guard, held_status
from worker.records.models import register_version
from worker.records.sessions import Database
from worker.records.transitions import end_attempt
from worker.records.weights import newest_weights_id
from worker.running.failures import failure_of
from worker.running.fingerprint import fingerprint
from worker.running.heartbeat import Heartbeat, Holding
from worker.running.last_words import certificate_for, hints_for
from worker.running.loading import Loaded, evaluate, load
from worker.running.recorder import Recorder, snapshot_epochs
from worker.running.stopping import Progress, Reason, Stopping
from worker.runtime import uptime
from worker.settings import Settings
from worker.specs.job import Job

log = structlog.get_logger()

JOB_ID = re.compile(r"^job_[0-9a-f]{32}$")


@dataclass(frozen=True)
class Runner:
    """What a process needs to run jobs.

    announce: tells watchers that a job's record changed. progress: is moved on by every step.
    """

    database: Database
    datasets: Datasets
    settings: Settings
    shutdown: threading.Event
    owner: str
    announce: Callable[[str], None]
    progress: Progress = field(default_factory=Progress)

    def run_job(self, job_id: str) -> str | None:
        """Run the job if it waits; the status it was left in, or None if it was not ours or the lease was lost.

        Never raises for what a job may do: its end is in the record.
        """
        if not JOB_ID.fullmatch(job_id):
            log.warning("not_a_job_id", length=len(job_id))
            return None
        lease = self.settings.lease_seconds
        claim = self.database.write(
            lambda session: claim_job(session, job_id, owner=self.owner, pid=os.getpid(), lease_seconds=lease)
        )
        if claim is None:
            return None
        with structlog.contextvars.bound_contextvars(job_id=job_id, attempt=claim.attempt, request_id=claim.request_id):
            self.announce(job_id)
            began = time.monotonic()
            status = self._attempt(claim)
            self.announce(job_id)
            log.info("attempt_ended", status=status, seconds=round(time.monotonic() - began, 3))
            return status

    def _attempt(self, claim: Claim) -> str | None:
        try:
            spec = Job.model_validate(claim.spec)
        except ValidationError as error:
            # stored by a version that allowed more
            place = "/".join(map(str, error.errors()[0]["loc"]))
            error_of_job = {
                "code": "invalid_data",
                "message": f"this version does not take the specification: /{place} {error.errors()[0]['msg']}",
                "epoch": None,
            }
            return self.database.write(lambda session: end_attempt(session, claim, "failed", error=error_of_job))
        return _Attempt(self, claim, spec).run()


class _Attempt:
    def __init__(self, runner: Runner, claim: Claim, spec: Job) -> None:
        self.runner, self.claim, self.spec = runner, claim, spec
        self.database = runner.database
        training = self.spec.training
        self.stopping = Stopping(
            runner.shutdown,
            runner.progress,
            max_seconds=training.max_seconds,
            checkpoint_seconds=training.checkpoint_seconds,
            lease_seconds=claim.lease_seconds,
        )
        holding = Holding(
            claim.lease_seconds,
            renew=lambda session: guard(session, claim).status,
            look=lambda session: held_status(session, claim),
        )
        self.heartbeat = Heartbeat(self.database, self.stopping, holding)

    def run(self) -> str | None:
        """The status that the job was left in; None where the lease was lost."""
        self.heartbeat.start()
        try:
            try:
                with threadpool_limits(self.spec.training.threads):
                    return self._train()
            except (LeaseLostError, UnavailableError) as error:
                # nothing can be written. If the lease was ours it runs out, and rescue gives the job to another
                log.warning("attempt_lost", error=str(error))
                return None
            except Exception as error:  # noqa: BLE001 - whatever a job does, it ends in the record
                failure = failure_of(error, self.spec)
            # after the except clause, which would keep the run's arrays: memory may be what was short
            return self._fail(*failure)
        finally:
            self.heartbeat.end()

    def _train(self) -> str | None:
        table = self.runner.datasets.load(self.claim.project_id, self.spec.dataset)
        loaded = load(self.spec, table, self.runner.settings.limits, self._source())
        training = loaded.training
        recorder = self._recorder(loaded)
        self._resume(training)
        try:
            reason = self._fit(training, recorder)
        except DivergedError:
            _keep_steps(training, recorder)
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
        flat = loaded.training.parameters.flat
        return Recorder(
            self.database,
            self.claim,
            to_columns(loaded.layers, loaded.encoders),
            epochs=spec.epochs,
            snapshots=snapshot_epochs(spec.epochs, spec.snapshots, flat.nbytes),
            fingerprint=fingerprint(spec.threads),
            announce=self.runner.announce,
            tell=self._written,
        )

    def _written(self, status: str, guarded_since: float) -> None:
        self.runner.progress.steps += 1
        self.stopping.renewed(guarded_since)
        self.stopping.tell_status(status)

    def _resume(self, training: Training) -> None:
        with self.database.reading() as session:
            newest = newest_checkpoint(session, self.claim.job_id)
        if newest is None:
            return
        row, state = newest
        training.restore(state)
        here = fingerprint(self.spec.training.threads)
        log.info("resumed", epoch=training.epoch, fingerprint=here)
        if row.fingerprint != here:
            # the same bits can't be promised: another kernel may round otherwise
            payload = {"epoch": training.epoch, "attempt": self.claim.attempt, "was": row.fingerprint, "is": here}
            self.database.write(lambda session: add_note(session, self.claim, "elsewhere", payload))

    def _fit(self, training: Training, recorder: Recorder) -> Reason | None:
        """Train until the end or until there is a reason to stop, taking checkpoints on the way."""
        while not training.finished:
            for epoch in training.run(self.stopping):
                _keep_steps(training, recorder)
                recorder.add(epoch, training.parameters)
                if self.stopping():
                    break
            # of an epoch that was stopped on its way too
            _keep_steps(training, recorder)
            reason = self.stopping.reason
            if reason == "checkpoint":
                began = time.monotonic()
                recorder.checkpoint(training.state())
                self.stopping.checkpoint_taken(time.monotonic() - began)
            elif reason == "lease_lost":
                self._hold_on()
            elif reason is not None:
                return reason
        return None

    def _hold_on(self) -> None:
        """The run stands still. Nobody may have taken the job: the database was away, or this machine slept.

        Raises LeaseLostError if somebody has, and UnavailableError.
        """
        began = uptime()
        guarded = self.database.write(lambda session: guard(session, self.claim))
        self.stopping.renewed(began)
        self.stopping.tell_status(guarded.status)

    def _succeed(self, loaded: Loaded, recorder: Recorder) -> str:
        recorder.flush()
        evaluation = evaluate(loaded)
        test = evaluation["test"]
        hints = hints_for(self.database, self.claim.job_id)
        certificate = certificate_for(loaded.training)
        publish = recorder.stage_final(loaded.training.final, loaded.training.final_epoch)

        def work(session: Session) -> str:
            publish(session)
            if self.spec.model is not None:
                weights_id = newest_weights_id(session, self.claim.job_id, "final")
                register_version(session, self.claim.project_id, self.spec.model, weights_id)
            drop_checkpoints(session, self.claim.job_id)
            return end_attempt(
                session,
                self.claim,
                "succeeded",
                evaluation=evaluation,
                hints=hints,
                certificate=certificate,
                test=test and {"loss": test["loss"], "metrics": test["metrics"]},
            )

        return self.database.write(work)

    def _stop(self, reason: Reason | None, training: Training, recorder: Recorder) -> str | None:
        if reason == "timed_out":
            recorder.flush()
            limit = self.spec.training.max_seconds
            return self._fail("timed_out", f"training took longer than max_seconds, {limit:g}", training.epoch)
        if reason == "cancelling":
            recorder.flush()
            return self._end("cancelled")
        recorder.checkpoint(training.state())
        return self._end("paused" if reason == "pausing" else "queued")

    def _fail(self, code: str, message: str, epoch: int | None) -> str | None:
        log.info("job_failed", code=code, message=message)
        return self._end("failed", error={"code": code, "message": message, "epoch": epoch})

    def _end(self, status: str, **values: Any) -> str | None:
        hints = hints_for(self.database, self.claim.job_id) if status in ("failed", "cancelled") else None

        def work(session: Session) -> str:
            left_in = end_attempt(session, self.claim, status, hints=hints, **values)
            if left_in in ("failed", "cancelled"):
                drop_checkpoints(session, self.claim.job_id)
            return left_in

        try:
            return self.database.write(work)
        except (LeaseLostError, UnavailableError) as error:
            log.warning("end_not_recorded", status=status, error=str(error))
            return None


def _keep_steps(training: Training, recorder: Recorder) -> None:
    """Hand over the steps of which every tensor was asked for."""
    if training.replay is not None:
        recorder.keep(training.replay.collect())
