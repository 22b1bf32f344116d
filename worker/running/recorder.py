"""Records a run: epochs, snapshots of the weights, kept steps, and checkpoints. Each flush is one transaction."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import structlog
from sqlalchemy.orm import Session

from worker.backprop.parameters import Parameters
from worker.backprop.plan import Epoch, State
from worker.backprop.replay import KeptStep
from worker.records.blobs import CHUNK_BYTES, add_chunk, chunks_of, publish_blob, put_blob, put_blobs, start_blob
from worker.records.checkpoints import publish_checkpoint, state_to_bytes
from worker.records.curves import record_epochs
from worker.records.events import write_events
from worker.records.held_out import publish_held_out
from worker.records.kept_steps import is_kept, publish_step
from worker.records.lease import Claim, record_event
from worker.records.points import Point, recorded_point
from worker.records.sessions import Database
from worker.records.states import Status
from worker.records.weights import NetworkColumns, publish_snapshots, publish_weights, to_bytes
from worker.runtime import uptime

log = structlog.get_logger()

FLUSH_SECONDS = 0.25
# after a flush that took t, the next one comes at least 25 t later: recording takes less than 4 % of the time
FLUSH_SHARE = 25
SNAPSHOT_BYTES_LIMIT = 64 * 2**20
PENDING_BYTES_LIMIT = 16 * 2**20
# the prefix of the names of the weights after a kept step
AFTER = "after."

Staged = bytes | str
"Content that is ready to be published: small content itself, or the id of the blob that holds large content."


class StepFile(NamedTuple):
    """A kept step as it is stored. weights_sha256: the digest of the bytes of all `after.` arrays, in order."""

    number: int
    epoch: int
    weights_sha256: str
    content: bytes


@dataclass
class Pending:
    """What the next flush writes. snapshots: the epoch and the content of each."""

    points: list[Point] = field(default_factory=list)
    snapshots: list[tuple[int, bytes]] = field(default_factory=list)
    steps: list[StepFile] = field(default_factory=list)

    @property
    def content_bytes(self) -> int:
        return sum(len(content) for _, content in self.snapshots) + sum(len(step.content) for step in self.steps)


def snapshot_epochs(epochs: int, count: int, bytes_each: int) -> set[int]:
    """Return the epochs whose weights are kept. They are log-spaced, since most changes in the early epochs.

    There are at most `count` of them, and no more than fit into 64 MiB. They depend on the job alone, so that a resumed
    run keeps the same ones.
    """
    count = min(count, SNAPSHOT_BYTES_LIMIT // max(1, bytes_each))
    return {round(epoch) for epoch in np.geomspace(1, epochs, count)} if count else set()


class Recorder:
    """Writes the record of one attempt. Any method may raise LeaseLostError; after that nothing more may be written."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        columns: NetworkColumns,
        *,
        epochs: int,
        snapshots: set[int],
        fingerprint: dict[str, Any],
        on_write: Callable[[Status, float], None],
    ) -> None:
        """Prepare to record.

        epochs: how many epochs the job asks for.
        snapshots: the epochs whose weights are kept.
        fingerprint: what the exact results depend on besides the job, which is stored with each checkpoint.
        on_write: called after each write with the job's status, and the moment of `uptime` from which its lease counts.
        """
        self._database, self._claim, self._columns = database, claim, columns
        self._epochs, self._snapshots, self.fingerprint = epochs, snapshots, fingerprint
        self._on_write = on_write
        self._pending = Pending()
        self._recorded = claim.epoch
        self._epoch_began = time.monotonic()
        self._next_flush = 0.0
        self._epoch_seconds = 0.0

    def add(self, epoch: Epoch, parameters: Parameters) -> None:
        """Add an epoch to the next flush, and flush if it is time."""
        seconds = time.monotonic() - self._epoch_began
        self._epoch_seconds += (seconds - self._epoch_seconds) * (0.2 if self._epoch_seconds else 1)
        point = recorded_point(epoch, seconds)
        self._pending.points.append(point)
        # an epoch that is already recorded has its snapshot, since both are written in one transaction
        if epoch.epoch in self._snapshots and epoch.epoch > self._recorded:
            self._pending.snapshots.append((epoch.epoch, to_bytes(parameters.named())))
        if time.monotonic() >= self._next_flush or self._pending.content_bytes > PENDING_BYTES_LIMIT:
            self.flush()
        self._epoch_began = time.monotonic()

    def keep(self, taken: Sequence[KeptStep]) -> None:
        """Add steps whose tensors are kept to the next flush."""
        self._pending.steps += [step_file(step, self._columns["network"]) for step in taken]

    def flush(self) -> None:
        """Write the pending epochs, snapshots and steps."""
        if self._pending.points or self._pending.steps:
            self._write(None)

    def checkpoint(self, state: State) -> None:
        """Write what is pending, and a checkpoint of the state after it, in one transaction."""
        began = time.monotonic()
        self._write(state)
        # the time that the checkpoint took does not count as part of the current epoch
        self._epoch_began += time.monotonic() - began

    def _write(self, state: State | None) -> None:
        began = time.monotonic()
        pending = self._pending
        snapshots = [(epoch, self._stage(content)) for epoch, content in pending.snapshots]
        steps = [(step, self._stage(step.content)) for step in pending.steps]
        checkpoint = None if state is None else (state, self._stage(state_to_bytes(state)))

        def work(session: Session) -> tuple[Status, list[int]]:
            status, differing = self._write_points(session, pending, snapshots)
            for step, staged in steps:
                self._publish_step(session, step, staged)
            if checkpoint is not None:
                self._publish_checkpoint(session, *checkpoint)
            if differing:
                payload = {"epochs": differing, "attempt": self._claim.attempt}
                record_event(session, self._claim, "nondeterminism", payload)
            return status, differing

        guarded_since = uptime()
        status, differing = self._database.write(work)
        self._pending = Pending()
        if pending.points:
            self._recorded = max(self._recorded, pending.points[-1].epoch)
        if differing:
            log.error("nondeterminism", epochs=differing)
        self._next_flush = time.monotonic() + max(FLUSH_SECONDS, FLUSH_SHARE * (time.monotonic() - began))
        self._on_write(status, guarded_since)

    def _write_points(
        self, session: Session, pending: Pending, snapshots: list[tuple[int, Staged]]
    ) -> tuple[Status, list[int]]:
        """Record the epochs and snapshots. Return the job's status, and the epochs that differ from their record."""
        left = self._epochs - (pending.points[-1].epoch if pending.points else self._recorded)
        guarded, differing = record_epochs(
            session,
            self._claim,
            pending.points,
            recorded=self._recorded,
            eta_seconds=left * self._epoch_seconds,
            events=len(snapshots),
        )
        self._publish_snapshots(session, snapshots, guarded.seq - len(snapshots) + 1)
        return guarded.status, differing

    def _publish_checkpoint(self, session: Session, state: State, staged: Staged) -> None:
        publish_checkpoint(
            session,
            self._claim,
            epoch=state.values["epoch"],
            step=state.values["step"],
            fingerprint=self.fingerprint,
            blob_id=self._blob(session, staged),
        )

    def _publish_step(self, session: Session, step: StepFile, staged: Staged) -> None:
        if not is_kept(session, self._claim.job_id, step.number):
            publish_step(
                session,
                self._claim,
                number=step.number,
                epoch=step.epoch,
                weights_sha256=step.weights_sha256,
                blob_id=self._blob(session, staged),
            )

    def _publish_snapshots(self, session: Session, snapshots: list[tuple[int, Staged]], first: int) -> None:
        """Publish snapshots, each with its event. first: the number of the first event."""
        project_id, job_id = self._claim.project_id, self._claim.job_id
        small = {epoch: staged for epoch, staged in snapshots if isinstance(staged, bytes)}
        blob_ids = dict(zip(small, put_blobs(session, project_id, list(small.values())), strict=True))
        for epoch, staged in snapshots:
            if isinstance(staged, str):
                publish_blob(session, staged)
                blob_ids[epoch] = staged
        ids = publish_snapshots(session, self._claim, self._columns, blob_ids)
        # the API calls a published snapshot a checkpoint; it is not a state to resume from
        payloads = [{"epoch": epoch, "weights_id": ids[epoch]} for epoch, _ in snapshots]
        known: dict[str, Any] = {"project_id": project_id, "job_id": job_id, "kind": "checkpoint"}
        write_events(session, **known, first=first, payloads=payloads)

    def stage_final(self, parameters: Parameters, epoch: int) -> Callable[[Session], None]:
        """Prepare the final weights. Return a function that publishes them in the transaction that ends the job."""
        staged = self._stage(to_bytes(parameters.named()))

        def publish(session: Session) -> None:
            publish_weights(
                session, self._claim, self._columns, kind="final", epoch=epoch, blob_id=self._blob(session, staged)
            )

        return publish

    def stage_held_out(self, content: bytes) -> Callable[[Session], None]:
        """Prepare the predictions of a cross-validation, as `stage_final` does the weights."""
        staged = self._stage(content)
        return lambda session: publish_held_out(session, self._claim, self._blob(session, staged))

    def _stage(self, content: bytes) -> Staged:
        """Write large content now, one transaction for each chunk. Small content is written when it is published."""
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

    def _blob(self, session: Session, staged: Staged) -> str:
        return staged if isinstance(staged, str) else put_blob(session, self._claim.project_id, staged)


def step_file(taken: KeptStep, network: list[dict[str, Any]]) -> StepFile:
    """Return the step as a safetensors file with its other figures in the metadata. network: the resolved layers."""
    digest = hashlib.sha256()
    after = [name for name in taken.arrays if name.startswith(AFTER)]
    for name in after:
        digest.update(taken.arrays[name].tobytes())
    metadata = {
        "format": "gradmill step",
        "step": str(taken.number),
        "epoch": str(taken.epoch),
        "learning_rate": repr(taken.learning_rate),
        "optimizer_steps": str(taken.optimizer_steps),
        "network": json.dumps(network),
        "weights": json.dumps([name.removeprefix(AFTER) for name in after]),
        "weights_sha256": digest.hexdigest(),
    }
    return StepFile(taken.number, taken.epoch, digest.hexdigest(), to_bytes(taken.arrays, metadata))
