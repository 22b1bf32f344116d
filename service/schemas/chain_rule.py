"""The chain rule on the wire."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.schemas.common import Shown
from worker.insight.bounds import ROWS
from worker.specs.base import CheckpointName, Integer

Index = Annotated[Integer, Field(ge=0, lt=2**31)]
Row = dict[str, Any] | list[Any]
Checkpoint = CheckpointName | Annotated[Integer, Field(ge=1, lt=10_000_000)]
Factor = float | list[float | None] | None


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class WeightAsked(Asked):
    """Which weight, by the unit that it comes from and the unit that it goes to."""

    layer: Index
    "The position in the resolved layer list, the output layer included, as in a weights file: `layers.1.w`."
    inner: Index | None = None
    "Within a residual block, the position of its layer: `layers.2.layers.0.w` is layer 2, inner 0."
    source: Annotated[Index | Literal["bias", "scale", "shift"], Field(alias="from")]
    """A unit of the layer before; `bias` of a dense layer; `scale` or `shift` of a normalisation; of an embedding the
    number of a category."""
    to: Index
    "A unit of the layer; of an embedding the dimension."


class ChainRuleRequest(Asked):
    """One weight, and one row or several. A row is posted with its target, or named by its number in the job's table.

    A posted row has raw values, as in a prediction; a target is a class, or a number in the user's own unit (a list of
    several, in the order of the job's targets, or an object by name).
    """

    weight: WeightAsked
    row: Row | None = None
    dataset_row: Index | None = None
    "Counted from 0."
    rows: Annotated[list[Row], Field(min_length=1, max_length=ROWS)] | None = None
    dataset_rows: Annotated[list[Index], Field(min_length=1, max_length=ROWS)] | None = None
    target: Any = None
    "Of `row`; of `dataset_row` in place of the table's own."
    targets: list[Any] | None = None
    "Of `rows`, one each; of `dataset_rows` in place of the table's own."
    checkpoint: Checkpoint = "final"
    "`final`; an epoch that was kept; `latest`: final, or of an unfinished job the newest that is stored."
    member: Index = 0
    "Of an ensemble."

    @model_validator(mode="after")
    def _one_way_of_naming_rows(self) -> "ChainRuleRequest":
        given = [name for name in ("row", "dataset_row", "rows", "dataset_rows") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("needs exactly one of row, dataset_row, rows and dataset_rows")
        many = given[0].endswith("rows")
        if self.targets is not None and not many:
            raise ValueError("has targets, which go with rows; a single row has a target")
        if self.target is not None and many:
            raise ValueError("has a target, which goes with a single row; rows have targets")
        if given == ["row"] and self.target is None:
            raise ValueError("needs the target of its row")
        if given == ["rows"] and self.targets is None:
            raise ValueError("needs the targets of its rows")
        return self


class Moment(Shown):
    kind: Literal["final", "snapshot", "checkpoint"]
    "`checkpoint`: the state from which an unfinished job would resume."
    epoch: int
    step: int
    "Batches taken of the epoch after it."


class LayerActivity(Shown):
    """What one layer did with the row, and the derivatives of the loss: one number a unit.

    z is the weighted sum, a = f(z) the activation; grad_a is dL/da and grad_z = dL/dz = dL/da x da/dz. Where a layer
    has no weighted sum (dropout, embedding, residual) z is a. layers: within a residual block.
    """

    type: str
    activation: str | None
    z: list[float | None]
    a: list[float | None]
    grad_a: list[float | None]
    grad_z: list[float | None]
    layers: "list[LayerActivity] | None"


class OutputShown(Shown):
    """Where back-propagation starts, one number an output: dL/da x da/dz the long way, and dL/dz as training has it.

    Of softmax with cross-entropy dL/da_k = -y_k / a_k and da_k/dz_j = a_k (delta_kj - a_j), whose products over k sum
    to a_j - y_j (Bishop 2006, equation 4.109); of sigmoid with binary cross-entropy, and of e^z with Poisson's loss,
    likewise a - y, over the number of outputs. `fused`: the loss is one of these, and dL_dz its short form. A product
    that is out of float64's reach is null; the short form never is.
    """

    y: list[float]
    dL_da: list[float | None]  # noqa: N815 - the equation's own letters
    long_product: list[float | None]
    dL_dz: list[float | None]  # noqa: N815
    fused: bool
    largest_difference: float | None


class UnitNamed(Shown):
    layer: int
    inner: int | None


class RowShare(Shown):
    """One row of a batch. product: dL_dz x dz_dw, its own gradient; share: product over the number of rows."""

    row: int
    loss: float
    dL_da: Factor  # noqa: N815
    da_dz: Factor
    dL_dz: float | None  # noqa: N815
    dz_dw: float
    product: float
    share: float


class Penalty(Shown):
    """What the penalties add to dL/dw: l2 w + l1 sign(w), for weights and points of embeddings, not for biases."""

    l1: float
    l2: float
    gradient: float


class UpdateLine(Shown):
    """name <- formula = value."""

    name: str
    formula: str
    value: float | None


class UpdateState(Shown):
    of: Literal["zero", "checkpoint"]
    "Whether the moments are zero, as before a first step, or those of the stored checkpoint."
    steps: int
    "How many steps the optimizer had made."


class Update(Shown):
    """The step that the job's own optimizer would make of this gradient alone, line by line; the last is the new value.

    The lines are those of the papers: sgd w - eta g (Robbins and Monro 1951); momentum (Sutskever et al. 2013);
    adagrad (Duchi et al. 2011); rmsprop (Tieleman and Hinton 2012); adam (Kingma and Ba 2015, algorithm 1); adamw
    (Loshchilov and Hutter 2019); nadam (Dozat 2016); lion (Chen et al. 2023).
    """

    optimizer: str
    learning_rate: float
    "As recorded at the end of the checkpoint's epoch."
    state: UpdateState
    gradient_norm: float | None
    "Of the whole network's gradient on these rows, where clip_norm needs it."
    lines: list[UpdateLine]
    new_value: float | None


class WeightShown(Shown):
    """dL/dw_ij = dL/da_j x da_j/dz_j x dz_j/dw_ij (Rumelhart, Hinton and Williams 1986), in float64.

    Where the unit's z moves several activations, behind a softmax, or through a normalisation that follows a dense
    layer with activation `identity`, dL_da and da_dz are vectors over k, and dL_dz = sum_k dL_da_k x da_dz_k.
    `a_of`: the layer whose activations these are. dz_dw: x_i of a weight, 1 of a bias or shift, the normalised n_j of a
    scale, 1 or 0 of an embedding. gradient = dL_dz x dz_dw; of a batch the mean of the rows' products.

    finite_difference: (L(w + h) - L(w - h)) / 2h, refined by h/2, with forward passes only. relative_error:
    |gradient - finite_difference| over the larger. verdict: `agrees` to a millionth or to what round-off leaves
    (`uncertainty`); `kink`: w stands on a kink of the loss (a relu whose z is 0, an absolute error of 0), where left
    and right derivatives differ; `differs`: a fault of ours.
    """

    model_config = ConfigDict(populate_by_name=True)

    layer: int
    inner: int | None
    source: Annotated[int | Literal["bias", "scale", "shift"], Field(alias="from")]
    to: int
    name: str
    "Of its array in a weights file, and `index` within that."
    index: list[int]
    value: float
    a_of: UnitNamed | None
    rows: list[RowShare] | None
    "Of a batch; then the factors are each row's own, and null here."
    dL_da: Factor  # noqa: N815
    da_dz: Factor
    dL_dz: float | None  # noqa: N815
    dz_dw: float | None
    gradient: float
    finite_difference: float
    relative_error: float
    uncertainty: float
    step: float
    "h"
    agrees: bool
    kink: bool
    verdict: Literal["agrees", "kink", "differs"]
    left: float | None
    "Derivatives from either side of a kink."
    right: float | None
    penalty: Penalty
    total_gradient: float
    "What the optimizer gets: gradient and penalty."
    update: Update


class ChainRule(Shown):
    """Of one row everything; of several the loss is their mean, and `layers` and `output` are null.

    Inference mode: no dropout, batch_norm by its running figures. Nothing is trained; all is computed in float64 from
    the stored weights.
    """

    job_id: str
    checkpoint: Moment
    member: int
    loss: float
    loss_units: str
    layers: list[LayerActivity] | None
    output: OutputShown | None
    weight: WeightShown
    notes: list[str]
    "What was left out, and what training does otherwise."
