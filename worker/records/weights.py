"""Published weights: final ones, and snapshots that were taken during training. Their bytes are safetensors.

Clients choose among a job's weights by a name that the API calls `checkpoint`: `final`, `latest` or an epoch's number.
That has nothing to do with the states to resume from, which are in `checkpoints`.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, TypedDict

import numpy as np
from safetensors import numpy as safetensors
from sqlalchemy import LargeBinary, case, func, insert, select
from sqlalchemy.orm import Session

from worker.backprop.arrays import Floats
from worker.errors import NotFoundError, StateError
from worker.records.blobs import CHUNK_BYTES, publish_blob, read_parts
from worker.records.identifiers import new_id
from worker.records.lease import Claim
from worker.records.tables import Chunk, StoredNetwork, Weights
from worker.specs.base import epoch_of

LENGTH_BYTES = 8
"A safetensors file begins with the length of its header, little-endian; the header is JSON."
HEADER_BYTES_LIMIT = 16 * 2**20
METADATA = "__metadata__"
DAMAGED = "the stored weights are damaged"
DTYPES: dict[str, type[np.floating[Any]]] = {"F16": np.float16, "F32": np.float32, "F64": np.float64}


class NetworkColumns(TypedDict):
    """The columns that turn the stored arrays into a predictor, as JSON: the resolved layers, and the encoders."""

    network: list[dict[str, Any]]
    encoders: dict[str, Any]


def to_bytes(arrays: dict[str, Floats], metadata: dict[str, str] | None = None) -> bytes:
    return bytes(safetensors.save(arrays, metadata))


def from_bytes(content: bytes) -> dict[str, Floats]:
    arrays: dict[str, Floats] = safetensors.load(content)
    return arrays


def publish_weights(
    session: Session, claim: Claim, columns: NetworkColumns, *, kind: str, epoch: int, blob_id: str
) -> str | None:
    """Publish a set of weights and return its id; None if an earlier attempt has already published it."""
    known = select(Weights.id).where(Weights.job_id == claim.job_id, Weights.kind == kind, Weights.epoch == epoch)
    if session.scalar(known) is not None:
        return None
    weights_id = new_id("wts")
    session.execute(
        insert(Weights).values(
            id=weights_id,
            project_id=claim.project_id,
            job_id=claim.job_id,
            network_id=_network_of(session, claim, columns),
            epoch=epoch,
            kind=kind,
            blob_id=blob_id,
        )
    )
    publish_blob(session, blob_id)
    return weights_id


def publish_snapshots(
    session: Session, claim: Claim, columns: NetworkColumns, blob_ids: Mapping[int, str]
) -> dict[int, str]:
    """Publish snapshots of epochs that this transaction records, and return their ids by epoch.

    blob_ids: by epoch.
    """
    ids = {epoch: new_id("wts") for epoch in blob_ids}
    if ids:
        known = {"project_id": claim.project_id, "job_id": claim.job_id, "kind": "snapshot"}
        known |= {"network_id": _network_of(session, claim, columns)}
        rows = [{"id": ids[epoch], "epoch": epoch, "blob_id": blob_id} for epoch, blob_id in blob_ids.items()]
        session.execute(insert(Weights), [known | row for row in rows])
    return ids


def _network_of(session: Session, claim: Claim, columns: NetworkColumns) -> str:
    """Return the id of the job's network, which is stored with the first of its weights."""
    found = session.scalar(select(StoredNetwork.id).where(StoredNetwork.job_id == claim.job_id))
    return found or add_network(session, claim.project_id, columns, job_id=claim.job_id)


def add_network(session: Session, project_id: str, columns: NetworkColumns, *, job_id: str | None = None) -> str:
    network_id = new_id("net")
    session.execute(insert(StoredNetwork).values(id=network_id, project_id=project_id, job_id=job_id, **columns))
    return network_id


def find_weights_id(session: Session, job_id: str, checkpoint: str = "latest") -> str:
    """Return the id of a job's weights.

    checkpoint: `final`, the number of an epoch, or `latest`. `latest` means the final weights if the job has them;
        otherwise its newest snapshot. It never means a state to resume from.
    Raises StateError(not_ready) if none are published yet, NotFoundError for an epoch that was not kept.
    """
    found, epoch = select(Weights.id).where(Weights.job_id == job_id), epoch_of(checkpoint)
    if checkpoint == "final":
        found = found.where(Weights.kind == "final")
    elif epoch is not None:
        found = found.where(Weights.epoch == epoch)
    # "final" sorts before "snapshot"; an epoch's number asks for its snapshot
    kind = Weights.kind.desc() if epoch is not None else Weights.kind
    weights_id = session.scalar(found.order_by(kind, Weights.epoch.desc()).limit(1))
    if weights_id is None and epoch is not None:
        raise NotFoundError(f"no weights of epoch {checkpoint} are kept")
    if weights_id is None:
        if checkpoint == "final":
            raise StateError("this job has no final weights; checkpoint=latest asks for the newest", code="not_ready")
        raise StateError("this job has no weights yet", code="not_ready")
    return weights_id


def find_weights(session: Session, weights_id: str) -> Weights:
    """Return the row, without its arrays. Raises NotFoundError."""
    row = session.get(Weights, weights_id)
    if row is None:
        raise NotFoundError("there are no such weights")
    return row


class StoredArrays:
    """The arrays of stored weights, of which nothing but the header has been read so far.

    shapes: by name, in the order of the file. dtype: that of all of them.
    Raises NotFoundError if the header is damaged.
    """

    def __init__(self, parts: Iterator[bytes]) -> None:
        try:
            header, rest = read_header(parts)
            in_order = sorted(header, key=lambda name: header[name]["data_offsets"])
            self.shapes = {name: tuple(header[name]["shape"]) for name in in_order}
            (self.dtype,) = {DTYPES[array["dtype"]] for array in header.values()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise NotFoundError(DAMAGED) from error
        self._parts = chain([rest], parts)

    def read_into(self, arrays: Mapping[str, Floats]) -> None:
        """Fill arrays of these names, shapes and this dtype, part by part, so that nothing is in memory twice.

        Raises NotFoundError if what is stored is damaged.
        """
        targets = (arrays[name].data.cast("B") for name in self.shapes)
        target = memoryview(b"")
        for part in self._parts:
            source = memoryview(part)
            while source:
                target = target or next(targets, target)
                if not target:
                    raise NotFoundError(DAMAGED)
                count = min(len(source), len(target))
                target[:count] = source[:count]
                source, target = source[count:], target[count:]
        if target or next(targets, None) is not None:
            raise NotFoundError(DAMAGED)


def read_header(parts: Iterator[bytes]) -> tuple[dict[str, Any], bytes]:
    """Return the header, without metadata, and what else has been read. Raises NotFoundError if it is damaged."""
    begun = b""
    while len(begun) < (end := LENGTH_BYTES + int.from_bytes(begun[:LENGTH_BYTES], "little")):
        part = next(parts, b"")
        if end > HEADER_BYTES_LIMIT or not part:
            raise NotFoundError(DAMAGED)
        begun += part
    try:
        document = json.loads(begun[LENGTH_BYTES:end])
    except ValueError as error:
        raise NotFoundError(DAMAGED) from error
    return {name: array for name, array in document.items() if name != METADATA}, begun[end:]


def read_weights(session: Session, weights_id: str) -> tuple[Weights, StoredArrays]:
    """Return the row, and its arrays, which must be read within this session. Raises NotFoundError."""
    row = find_weights(session, weights_id)
    return row, StoredArrays(read_parts(session, row.blob_id))


def stored_shapes(session: Session, weights_id: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the stored arrays by name. Only the header of their file is read. Raises NotFoundError."""
    blob_id = find_weights(session, weights_id).blob_id
    length = int.from_bytes(_first_bytes(session, blob_id, LENGTH_BYTES), "little")
    header = json.loads(_first_bytes(session, blob_id, LENGTH_BYTES + length)[LENGTH_BYTES:])
    return {name: tuple(array["shape"]) for name, array in header.items() if name != METADATA}


def _first_bytes(session: Session, blob_id: str, count: int) -> bytes:
    """Return the first bytes of a blob. Raises NotFoundError if fewer than `count` are stored."""
    whole, rest = divmod(count, CHUNK_BYTES)
    length = case((Chunk.position < whole, CHUNK_BYTES), else_=rest)
    parts = select(func.substr(Chunk.content, 1, length, type_=LargeBinary)).where(
        Chunk.blob_id == blob_id, Chunk.position <= whole
    )
    content = b"".join(session.scalars(parts.order_by(Chunk.position)))
    if len(content) != count:
        raise NotFoundError(f"blob {blob_id} is missing or damaged")
    return content
