"""The schemas of certificates, histograms and kept steps."""

from typing import Annotated, Literal

from pydantic import Field

from service.schemas.chain_rule import Moment
from service.schemas.common import SPELLED, Query, Shown
from worker.specs.base import CheckpointName


class LayerCertificate(Shown):
    """The check of one layer: its derivative along a random direction d, of length 1, in all its trained numbers.

    gradient: dL/dw . d by back-propagation.
    finite_difference: the derivative of L(w + t d) at t = 0, (L(h) - L(-h)) / 2h, refined by h/2.
    uncertainty: the estimated error of finite_difference, from truncation and round-off.
    verdict: `kink` means that the weights are at a kink of the loss, where it has no derivative.
    """

    layer: int
    numbers: int
    "How many trained numbers, such as weights and biases, the layer has."
    gradient: float
    finite_difference: float
    relative_error: float
    uncertainty: float
    step: float
    verdict: Literal["agrees", "kink", "differs"]


class Certificate(Shown):
    """The gradients of the final weights, checked when the job succeeded: each layer's directional derivative.

    The code that trained the network runs in float64, in training mode, on a few rows of the training part; for an
    ensemble, with the first member. The loss is without penalties. Source: Bishop (2006), section 5.3.3.
    """

    verdict: Literal["agrees", "kink", "differs", "skipped"]
    "The worst of the layers' verdicts; `skipped` if it cost too much or was impossible, with the `reason`."
    reason: str | None
    rows: int
    loss: float | None
    "The weighted mean loss of these rows."
    layers: list[LayerCertificate]


class HistogramsQuery(Query):
    checkpoint: CheckpointName = "final"
    layer: Annotated[int, Field(ge=0, lt=2**31), SPELLED] | None = None
    bins: Annotated[int, Field(ge=2, le=200), SPELLED] = 30
    member: Annotated[int, Field(ge=0, lt=2**31), SPELLED] = 0


class Histogram(Shown):
    """counts[n] is how many values are in [edges[n], edges[n + 1]); the last bin includes its upper edge."""

    edges: list[float]
    counts: list[int]


class LayerHistograms(Shown):
    """weights, gradients: by array, named as in a weights file after `layers.N.`; gradients are dL/dw of the mean loss.

    activations: z and a of every unit and row. unit_gradients: dL/dz and dL/da of each row's own loss.
    """

    layer: int
    type: str
    weights: dict[str, Histogram]
    activations: dict[str, Histogram]
    gradients: dict[str, Histogram]
    unit_gradients: dict[str, Histogram]


class Histograms(Shown):
    """Computed in float64 and inference mode, on at most 256 rows that are evenly spaced over the job's own table."""

    job_id: str
    checkpoint: Moment
    member: int
    rows: int
    loss: float
    layers: list[LayerHistograms]


class StepShown(Shown):
    """weights_sha256: the hash of the weights after the step, all arrays in the order of a weights file."""

    step: int
    "The number of the step, counted from 1 over the whole run."
    epoch: int
    bytes: int
    weights_sha256: str
    link: str


class StepList(Shown):
    data: list[StepShown]
