"""Certificates and histograms on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.chain_rule import Moment
from service.schemas.common import Query, Shown
from worker.specs.base import CheckpointName


class LayerCertificate(Shown):
    """gradient: dL/dw . d by back-propagation, d a random direction of length 1 in all trained numbers of the layer.

    finite_difference: of L(w + t d) at t = 0, (L(h) - L(-h)) / 2h, refined by h/2. uncertainty: what truncation and
    round-off leave open. `kink`: the weights stand on a kink of the loss, where there is no derivative.
    """

    layer: int
    numbers: int
    "Weights, biases and the like that the direction moves."
    gradient: float
    finite_difference: float
    relative_error: float
    uncertainty: float
    step: float
    verdict: Literal["agrees", "kink", "differs"]


class Certificate(Shown):
    """The gradients of the final weights, checked when the job succeeded: each layer's directional derivative.

    The very code that trained the network, in float64, in training mode, on a few rows of the training part; of an
    ensemble the first member. The loss is without penalties. Source: Bishop (2006), section 5.3.3.
    """

    verdict: Literal["agrees", "kink", "differs", "skipped"]
    "The worst of the layers'; `skipped` where it would have cost too much, or could not be told: `reason` says which."
    reason: str | None
    rows: int
    loss: float | None
    "The mean over these rows, each by its weight."
    layers: list[LayerCertificate]


class HistogramsQuery(Query):
    checkpoint: CheckpointName = "final"
    layer: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    bins: Annotated[int, Field(ge=2, le=200)] = 30
    member: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Histogram(Shown):
    """counts[n] values lie from edges[n] up to edges[n + 1]; the last bin has its upper edge too."""

    edges: list[float]
    counts: list[int]


class LayerHistograms(Shown):
    """weights, gradients: by array, as in a weights file after `layers.N.`; gradients are dL/dw of the mean loss.

    activations: z and a of every unit and row; unit_gradients: dL/dz and dL/da of each row's own loss.
    """

    layer: int
    type: str
    weights: dict[str, Histogram]
    activations: dict[str, Histogram]
    gradients: dict[str, Histogram]
    unit_gradients: dict[str, Histogram]


class Histograms(Shown):
    """In float64 and inference mode, on rows evenly spaced over the job's own table, at most 256."""

    job_id: str
    checkpoint: Moment
    member: int
    rows: int
    loss: float
    layers: list[LayerHistograms]


class StepShown(Shown):
    """weights_sha256: of the weights that the step ended in, the bytes of all arrays in the order of a weights file."""

    step: int
    "Counted from 1 over the whole run."
    epoch: int
    bytes: int
    weights_sha256: str
    link: str


class StepList(Shown):
    data: list[StepShown]
