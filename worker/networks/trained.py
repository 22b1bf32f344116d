"""What every export starts from: one set of published weights, with all that turns it into predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from worker.backprop.arrays import Floats
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters
from worker.data.encoders import Encoders
from worker.networks.layers import LAYERS, build_network
from worker.records.tables import Job
from worker.records.weights import read_weights
from worker.specs.network import ResolvedLayer


@dataclass(frozen=True)
class Trained:
    """layers: as they were built. job_id and spec: None for weights that were imported."""

    weights_id: str
    job_id: str | None
    epoch: int
    layers: Sequence[ResolvedLayer]
    encoders: Encoders
    arrays: Mapping[str, Floats]
    spec: Mapping[str, Any] | None = None

    @cached_property
    def network(self) -> Network:
        return build_network(self.layers, self.encoders.width)

    @cached_property
    def parameters(self) -> Parameters:
        """The arrays by layer; those of an ensemble with its members as their first axis."""
        members = {name.split(".")[1] for name in self.arrays if name.startswith("members.")}
        dtype = next(iter(self.arrays.values())).dtype
        parameters = self.network.parameters(dtype, len(members) or None)
        parameters.load(self.arrays)
        return parameters


def read_trained(session: Session, weights_id: str) -> Trained:
    """Published weights with their job's specification, if they have one."""
    row, arrays = read_weights(session, weights_id)
    job = None if row.job_id is None else session.get_one(Job, row.job_id)
    return Trained(
        weights_id=row.id,
        job_id=row.job_id,
        epoch=row.epoch,
        layers=LAYERS.validate_python(row.network),
        encoders=Encoders.model_validate(row.encoders),
        arrays=arrays,
        spec=None if job is None else job.spec,
    )
