"""A trained network as one value, and reading it from the record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sqlalchemy.orm import Session

from worker.backprop.array_names import count_members, of_member
from worker.backprop.arrays import Floats
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters
from worker.data.encoders import Encoders
from worker.errors import NotFoundError, ShapeError
from worker.networks.layers import LAYERS, build_network
from worker.records.tables import Job, Weights
from worker.records.weights import DAMAGED, NetworkColumns, find_weights, read_weights, stored_shapes
from worker.specs.network import ResolvedDense, ResolvedLayer


@dataclass(frozen=True)
class Architecture:
    """A trained network without its arrays.

    layers: the layers as they were built, the output layer last.
    encoders: how rows of a table become its input.
    members: how many networks an ensemble has; None for one network.
    """

    layers: Sequence[ResolvedLayer]
    encoders: Encoders
    members: int | None

    @cached_property
    def network(self) -> Network:
        return build_network(self.layers, self.encoders.width)

    @property
    def output(self) -> ResolvedDense:
        """The output layer."""
        output = self.layers[-1]
        assert isinstance(output, ResolvedDense)  # noqa: S101 - a Network has no other as its last
        return output


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network, or an ensemble of them. Building one raises ShapeError if its parts do not fit together.

    layers: the layers as they were built, the output layer last.
    encoders: how rows of a table become its input.
    arrays: the arrays by their names in a weights file; they are copied.
    parameters: the same numbers by layer, in the precision of the arrays. Those of an ensemble have its members as
        their first axis.
    """

    layers: Sequence[ResolvedLayer]
    encoders: Encoders
    arrays: Mapping[str, Floats] = field(repr=False)
    architecture: Architecture = field(init=False, repr=False)
    parameters: Parameters = field(init=False, repr=False)

    def __post_init__(self) -> None:
        architecture = Architecture(self.layers, self.encoders, count_members(self.arrays))
        dtype = next(iter(self.arrays.values())).dtype
        parameters = architecture.network.parameters(dtype, architecture.members)
        parameters.load(self.arrays)
        object.__setattr__(self, "architecture", architecture)
        object.__setattr__(self, "parameters", parameters)
        # views of the parameters, so that the numbers are in memory only once
        object.__setattr__(self, "arrays", parameters.named())

    @property
    def members(self) -> int | None:
        """How many networks an ensemble has; None for one network."""
        return self.architecture.members

    @property
    def network(self) -> Network:
        return self.architecture.network

    def member(self, position: int, dtype: DTypeLike | None = None) -> "Trained":
        """Return one network of an ensemble. A single network is its own only member, 0.

        dtype: the dtype of the returned arrays; None for that of these arrays.
        """
        arrays = self.arrays if self.members is None else of_member(self.arrays, position)
        return Trained(self.layers, self.encoders, {name: np.asarray(array, dtype) for name, array in arrays.items()})


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A trained network without its arrays, and where it comes from.

    job_id, spec: the job that made it, and that job's specification; None if it was imported.
    epoch: the epoch at whose end the weights were taken.
    kind: final, snapshot or imported.
    """

    architecture: Architecture
    weights_id: str
    job_id: str | None
    epoch: int
    kind: str
    spec: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Published(Origin):
    """A trained network with its arrays, and where it comes from."""

    trained: Trained


def read_published(session: Session, weights_id: str) -> Published:
    """Read a trained network with its origin. Raises NotFoundError."""
    trained = read_trained(session, weights_id)
    return Published(trained=trained, **vars(_origin(session, weights_id, trained.architecture)))


def read_origin(session: Session, weights_id: str) -> Origin:
    """Read a trained network's origin; of its arrays only the header of their file. Raises NotFoundError."""
    return _origin(session, weights_id, read_architecture(session, weights_id))


def _origin(session: Session, weights_id: str, architecture: Architecture) -> Origin:
    row = find_weights(session, weights_id)
    job = None if row.job_id is None else session.get_one(Job, row.job_id)
    return Origin(
        architecture=architecture,
        weights_id=row.id,
        job_id=row.job_id,
        epoch=row.epoch,
        kind=row.kind,
        spec=None if job is None else job.spec,
    )


def read_trained(session: Session, weights_id: str) -> Trained:
    """Read a trained network. Raises NotFoundError."""
    row, stored = read_weights(session, weights_id)
    layers, encoders = from_columns(row)
    try:
        # zeros without memory of their own, which are then filled
        zeros = {name: np.broadcast_to(np.zeros((), stored.dtype), shape) for name, shape in stored.shapes.items()}
        trained = Trained(layers, encoders, zeros)
    except (ShapeError, ValueError, TypeError) as error:
        raise NotFoundError(DAMAGED) from error
    stored.read_into(trained.arrays)
    return trained


def read_architecture(session: Session, weights_id: str) -> Architecture:
    """Read a network without its arrays: only the header of their file is loaded. Raises NotFoundError."""
    layers, encoders = from_columns(find_weights(session, weights_id))
    return Architecture(layers, encoders, count_members(stored_shapes(session, weights_id)))


def to_columns(layers: Sequence[ResolvedLayer], encoders: Encoders) -> NetworkColumns:
    """Return layers and encoders as the record stores them."""
    return {"network": LAYERS.dump_python(list(layers), mode="json"), "encoders": encoders.model_dump(mode="json")}


def from_columns(row: Weights) -> tuple[list[ResolvedLayer], Encoders]:
    """Return the layers and encoders that a row of the record stores."""
    return LAYERS.validate_python(row.network), Encoders.model_validate(row.encoders)
