"""The network that a job starts from: found when the job is submitted, and read again by each attempt."""

from typing import NamedTuple, assert_never

from sqlalchemy.orm import Session

from worker.errors import NotFoundError, SpecError, StateError
from worker.networks.trained import Architecture, Trained, read_architecture, read_trained
from worker.records.jobs import get_job, source_of
from worker.records.tables import Job as JobRow
from worker.records.tables import Weights
from worker.records.versions import find_version
from worker.records.weights import find_weights_id
from worker.specs.job import Job
from worker.specs.network import (
    BatchNormLayer,
    DenseLayer,
    DropoutLayer,
    EmbeddingLayer,
    Layer,
    LayerNormLayer,
    Network,
    ResidualLayer,
    ResolvedDense,
    ResolvedEmbedding,
    ResolvedLayer,
    ResolvedResidual,
)
from worker.specs.start import StartFrom


class Start(NamedTuple):
    """The source that a job starts from.

    spec: the job's specification, with an alias replaced by the version that it points at now, and with the source's
        layers if the client named none.
    weights_id: the id of the source's weights.
    source: the source without its arrays.
    """

    spec: Job
    weights_id: str
    source: Architecture


def find_start(session: Session, project_id: str, spec: Job, start: StartFrom) -> Start:
    """Return the source of a job. Raises SpecError if it does not exist, or has no final weights."""
    if start.job is not None:
        weights_id = _weights_of_job(session, project_id, start.job)
    else:
        weights_id, start = _weights_of_version(session, project_id, start)
    source = read_architecture(session, weights_id)
    settled = {"start_from": start}
    if "network" not in spec.model_fields_set:
        settled["network"] = _network(session, session.get_one(Weights, weights_id), source)  # type: ignore[assignment]
    return Start(spec.model_copy(update=settled), weights_id, source)


def _weights_of_job(session: Session, project_id: str, job_id: str) -> str:
    try:
        get_job(session, project_id, job_id)
        return find_weights_id(session, job_id, "final")
    except NotFoundError as error:
        raise SpecError("/start_from/job", "there is no such job") from error
    except StateError as error:
        raise SpecError("/start_from/job", "has no final weights: it has not succeeded") from error


def _weights_of_version(session: Session, project_id: str, start: StartFrom) -> tuple[str, StartFrom]:
    try:
        found = find_version(session, project_id, start.model or "", version=start.version, alias=start.alias)
    except NotFoundError as error:
        raise SpecError("/start_from/model", "there is no such version of a model") from error
    return found.weights_id, start.model_copy(update={"version": found.version, "alias": None})


def _network(session: Session, row: Weights, source: Architecture) -> Network:
    """Return the layers that the source's job asked for; for imported weights, those of the file."""
    job = None if row.job_id is None else session.get_one(JobRow, row.job_id)
    if job is not None:
        return Network.model_validate(job.spec["network"])
    return Network(layers=tuple(_as_asked_for(layer) for layer in source.layers[:-1]))


def _as_asked_for(layer: ResolvedLayer) -> Layer:
    """Return the layer that a client would ask for to get this resolved layer."""
    match layer:
        case ResolvedDense():
            return DenseLayer.model_validate(layer.model_dump())
        case ResolvedResidual():
            return ResidualLayer.model_validate(layer.model_dump())
        case ResolvedEmbedding():
            return EmbeddingLayer(type="embedding", column=layer.column, dimensions=layer.dimensions)
        case DropoutLayer() | LayerNormLayer() | BatchNormLayer():
            return layer
        case _:
            assert_never(layer)


def read_start(session: Session, job_id: str) -> Trained:
    """Return the network that a job starts from. Raises SpecError if its weights were deleted."""
    weights_id = source_of(session, job_id)
    if weights_id is None:
        raise SpecError("/start_from", "its weights were deleted")
    return read_trained(session, weights_id)
