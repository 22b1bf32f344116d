"""Writes what a run yields: epochs, snapshots and checkpoints, each flush one transaction."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import structlog
from sqlalchemy.orm import Session

from worker.backprop.parameters import Parameters
from worker.backprop.plan import Epoch, State
from worker.backprop.replay import Taken
from worker.records.blobs import CHUNK_BYTES, add_chunk, chunks_of, put_blob, start_blob
from worker.records.checkpoints import publish_checkpoint, state_to_bytes
from worker.records.curves import record_epochs
from worker.records.events import write_event
from worker.records.kept_steps import is_kept, publish_step
from worker.records.lease import Claim, add_note
from worker.records.points import Point, recorded_point
from worker.records.sessions import Database
from worker.records.weights import Recipe, publish_weights, to_bytes
from worker.running.kept_steps import StepFile, step_file
from worker.runtime import uptime

log = structlog.get_logger()

FLUSH_SECONDS = 0.25
# a flush that took t is not followed by another within 25 t: recording stays under 4 % of the time on any disk
FLUSH_SHARE = 25
SNAPSHOT_BYTES_LIMIT = 64 * 2**20
PENDING_BYTES_LIMIT = 16 * 2**20


@dataclass
class Pending:
    """What the next flush writes."""

    points: list[Point] = field(default_factory=list)
    snapshots: list[tuple[int, bytes]] = field(default_factory=list)
    steps: list[StepFile] = field(default_factory=list)

    @property
    def content_bytes(self) -> int:
        return sum(len(content) for _, content in self.snapshots) + sum(len(step.content) for step in self.steps)


def snapshot_epochs(epochs: int, count: int, bytes_each: int) -> set[int]:
    """The epochs whose weights are kept: log-spaced, so that the early ones, where most changes, are dense.

    At most `count`, and no more than fit in 64 MiB; a function of the job alone, so that a resumed run keeps the same.
    """
    count = min(count, SNAPSHOT_BYTES_LIMIT // max(1, bytes_each))
    return {round(epoch) for epoch in np.geomspace(1, epochs, count)} if count else set()


class Recorder:
    """The record of one attempt. Every method may raise LeaseLostError; then nothing more may be written."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        recipe: Recipe,
        *,
        epochs: int,
        snapshots: set[int],
        fingerprint: dict[str, Any],
        announce: Callable[[str], None],
        tell: Callable[[str, float], None],
    ) -> None:
        """tell: is given the job's status after each write, and the moment since which its lease is new.

        announce: is called with the job id after each.
        """
        self._database, self._claim, self._recipe = database, claim, recipe
        self._epochs, self._snapshots, self._fingerprint = epochs, snapshots, fingerprint
        self._announce, self._tell = announce, tell
        self._pending = Pending()
        self._recorded = claim.epoch
        self._epoch_began = time.monotonic()
        self._next_flush = 0.0
        self._epoch_seconds = 0.0

    def add(self, epoch: Epoch, parameters: Parameters) -> None:
        """Take an epoch in; flush if it is time."""
        seconds = time.monotonic() - self._epoch_began
        self._epoch_seconds += (seconds - self._epoch_seconds) * (0.2 if self._epoch_seconds else 1)
        point = recorded_point(epoch, seconds)
        self._pending.points.append(point)
        # what stands already stood with its snapshot: both were one transaction
        if epoch.epoch in self._snapshots and epoch.epoch > self._recorded:
            self._pending.snapshots.append((epoch.epoch, to_bytes(parameters.named())))
        if time.monotonic() >= self._next_flush or self._pending.content_bytes > PENDING_BYTES_LIMIT:
            self.flush()
        self._epoch_began = time.monotonic()

    def keep(self, taken: Sequence[Taken]) -> None:
        """Take in steps of which every tensor is kept, for the next flush or checkpoint."""
        self._pending.steps += [step_file(step, self._recipe.network) for step in taken]

    def flush(self) -> None:
        """Write what is pending."""
        if self._pending.points or self._pending.steps:
            self._write(None)

    def checkpoint(self, state: State) -> None:
        """Write what is pending and a checkpoint that covers it, in one transaction."""
        began = time.monotonic()
        self._write(state)
        # the epoch under way does not pay for it
        self._epoch_began += time.monotonic() - began

    def _write(self, state: State | None) -> None:
        began = time.monotonic()
        pending = self._pending
        staged = [(epoch, self._stage(content)) for epoch, content in pending.snapshots]
        staged_steps = [(step, self._stage(step.content)) for step in pending.steps]
        staged_state = self._stage(state_to_bytes(state)) if state is not None else None
        left = self._epochs - (pending.points[-1].epoch if pending.points else self._recorded)

        def work(session: Session) -> tuple[str, list[int]]:
            guarded, differing = record_epochs(
                session,
                self._claim,
                pending.points,
                recorded=self._recorded,
                eta_seconds=left * self._epoch_seconds,
                events=len(staged),
            )
            first = guarded.seq - len(staged) + 1
            for n, (epoch, place) in enumerate(staged):
                self._publish_snapshot(session, epoch, place, first + n)
            for step, place in staged_steps:
                self._publish_step(session, step, place)
            if state is not None and staged_state is not None:
                publish_checkpoint(
                    session,
                    self._claim,
                    epoch=state.values["epoch"],
                    step=state.values["step"],
                    fingerprint=self._fingerprint,
                    blob_id=self._blob(session, staged_state),
                )
            if differing:
                payload = {"epochs": differing, "attempt": self._claim.attempt}
                add_note(session, self._claim, "nondeterminism", payload)
            return guarded.status, differing

        guarded_since = uptime()
        status, differing = self._database.write(work)
        self._pending = Pending()
        if pending.points:
            self._recorded = max(self._recorded, pending.points[-1].epoch)
        if differing:
            log.error("nondeterminism", epochs=differing)
        seconds = time.monotonic() - began
        self._next_flush = time.monotonic() + max(FLUSH_SECONDS, FLUSH_SHARE * seconds)
        self._tell(status, guarded_since)
        self._announce(self._claim.job_id)

    def _publish_step(self, session: Session, step: StepFile, place: bytes | str) -> None:
        if not is_kept(session, self._claim.job_id, step.number):
            publish_step(
                session,
                self._claim,
                number=step.number,
                epoch=step.epoch,
                weights_sha256=step.weights_sha256,
                blob_id=self._blob(session, place),
            )

    def _publish_snapshot(self, session: Session, epoch: int, place: "bytes | str", seq: int) -> None:
        weights_id = publish_weights(
            session, self._claim, self._recipe, kind="snapshot", epoch=epoch, blob_id=self._blob(session, place)
        )
        payload = {"epoch": epoch, "weights_id": weights_id}
        project_id, job_id = self._claim.project_id, self._claim.job_id
        write_event(session, project_id=project_id, job_id=job_id, seq=seq, kind="checkpoint", payload=payload)

    def stage_final(self, parameters: Parameters, epoch: int) -> Callable[[Session], None]:
        """Prepare the final weights; what it returns publishes them in the transaction that ends the job."""
        place = self._stage(to_bytes(parameters.named()))

        def publish(session: Session) -> None:
            publish_weights(
                session, self._claim, self._recipe, kind="final", epoch=epoch, blob_id=self._blob(session, place)
            )

        return publish

    def _stage(self, content: bytes) -> bytes | str:
        """Small bytes as they are, for the transaction to write; large ones are written before it: their blob's id."""
        if len(content) <= CHUNK_BYTES:
            return content
        project_id = self._claim.project_id
        blob_id = self._database.write(lambda session: start_blob(session, project_id, content))
        for position, chunk in chunks_of(content):
            self._add_chunk(blob_id, position, chunk)
        return blob_id

    def _add_chunk(self, blob_id: str, position: int, chunk: bytes) -> None:
        project_id = self._claim.project_id
        self._database.write(lambda session: add_chunk(session, project_id, blob_id, position, chunk))

    def _blob(self, session: Session, place: bytes | str) -> str:
        return place if isinstance(place, str) else put_blob(session, self._claim.project_id, place)
