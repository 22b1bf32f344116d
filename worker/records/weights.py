"""Published weights: final, or snapshots along the way. Bytes are safetensors; never a pickle."""

from dataclasses import dataclass
from typing import Any

from safetensors import numpy as safetensors
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from worker.backprop.arrays import Floats
from worker.errors import NotFoundError, StateError
from worker.records.blobs import publish_blob, read_blob
from worker.records.identifiers import new_id
from worker.records.lease import Claim
from worker.records.tables import Weights
from worker.specs.base import epoch_of


@dataclass(frozen=True)
class Recipe:
    """What turns arrays into a predictor: the resolved layers, and the columns' encoders."""

    network: list[dict[str, Any]]
    encoders: dict[str, Any]


def to_bytes(arrays: dict[str, Floats], metadata: dict[str, str] | None = None) -> bytes:
    return bytes(safetensors.save(arrays, metadata))


def from_bytes(content: bytes) -> dict[str, Floats]:
    arrays: dict[str, Floats] = safetensors.load(content)
    return arrays


def publish_weights(
    session: Session, claim: Claim, recipe: Recipe, *, kind: str, epoch: int, blob_id: str
) -> str | None:
    """Publish a set of weights; its id, or None if this epoch's stand already from an earlier attempt."""
    known = select(Weights.id).where(Weights.job_id == claim.job_id, Weights.kind == kind, Weights.epoch == epoch)
    if session.scalar(known) is not None:
        return None
    weights_id = new_id("wts")
    session.execute(
        insert(Weights).values(
            id=weights_id,
            project_id=claim.project_id,
            job_id=claim.job_id,
            epoch=epoch,
            kind=kind,
            network=recipe.network,
            encoders=recipe.encoders,
            blob_id=blob_id,
        )
    )
    publish_blob(session, blob_id)
    return weights_id


def newest_weights_id(session: Session, job_id: str, checkpoint: str = "latest") -> str:
    """The id of a job's weights: `latest` (final before any snapshot), `final`, or an epoch's snapshot.

    Raises StateError(not_ready) if none are published yet, NotFoundError for an epoch that was not kept.
    """
    found, epoch = select(Weights.id).where(Weights.job_id == job_id), epoch_of(checkpoint)
    if checkpoint == "final":
        found = found.where(Weights.kind == "final")
    elif epoch is not None:
        found = found.where(Weights.epoch == epoch)
    # "final" sorts before "snapshot"; of an epoch that was asked for by its number the snapshot is meant
    kind = Weights.kind.desc() if epoch is not None else Weights.kind
    weights_id = session.scalar(found.order_by(kind, Weights.epoch.desc()).limit(1))
    if weights_id is None and epoch is not None:
        raise NotFoundError(f"no weights of epoch {checkpoint} are kept")
    if weights_id is None:
        if checkpoint == "final":
            raise StateError("this job has no final weights; checkpoint=latest asks for the newest", code="not_ready")
        raise StateError("this job has no weights yet", code="not_ready")
    return weights_id


def kept_epochs(session: Session, job_id: str) -> list[int]:
    """The epochs whose weights can be asked for."""
    return list(
        session.scalars(select(Weights.epoch).where(Weights.job_id == job_id).order_by(Weights.epoch).distinct())
    )


def read_weights(session: Session, weights_id: str) -> tuple[Weights, dict[str, Floats]]:
    """The row, and its arrays by name. Raises NotFoundError."""
    row = session.get(Weights, weights_id)
    if row is None:
        raise NotFoundError("there are no such weights")
    return row, from_bytes(read_blob(session, row.blob_id))
