"""The schemas of the chain rule's request and answer."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue, model_validator

from service.schemas.common import Shown
from worker.insight.bounds import ROWS
from worker.specs.base import AtMost, CheckpointName, Integer, Strict, form

Index = Annotated[Integer, Field(ge=0, lt=2**31)]
Row = dict[str, Any] | list[Any]
Checkpoint = CheckpointName | Annotated[Integer, Field(ge=1, lt=10_000_000)]
Factor = float | list[float | None] | None


class WeightAsked(Strict):
    """A weight, named by the unit that it comes from and the unit that it goes to."""

    layer: Index
    "The position in the resolved layer list, the output layer included, as in a weights file: `layers.1.w`."
    inner: Index | None = None
    "For a residual block, the position of the layer within it: `layers.2.layers.0.w` is layer 2, inner 0."
    source: Annotated[Index | Literal["bias", "scale", "shift"], Field(alias="from")]
    """A unit of the layer before; or `bias` for a dense layer, `scale` or `shift` for a normalisation, the number of a
    category for an embedding."""
    to: Index
    "A unit of the layer; for an embedding, the dimension."


FORMS: list[JsonValue] = [
    form("row", "target", absent=("dataset_row", "rows", "dataset_rows", "targets")),
    form("dataset_row", absent=("row", "rows", "dataset_rows", "targets")),
    form("rows", "targets", absent=("row", "dataset_row", "dataset_rows", "target")),
    form("dataset_rows", absent=("row", "dataset_row", "rows", "target")),
]
"The ways of naming rows, with their targets; `_one_way_of_naming_rows` checks the same."


class ChainRuleRequest(Strict):
    """One weight, and one row or several. A row is posted with its target, or named by its number in the job's table.

    A posted row has raw values, as in a prediction. A target is a class, or a number in your own unit; several numbers
    are a list in the order of the job's targets, or an object by name.
    """

    model_config = ConfigDict(json_schema_extra={"anyOf": FORMS})

    weight: WeightAsked
    row: Row | None = None
    dataset_row: Index | None = None
    "The number of a row in the job's table, from 0."
    rows: Annotated[list[Row], AtMost(ROWS), Field(min_length=1)] | None = None
    dataset_rows: Annotated[list[Index], AtMost(ROWS), Field(min_length=1)] | None = None
    target: Any = None
    "The target of `row`; for `dataset_row` it replaces the table's own."
    targets: Annotated[list[Any], AtMost(ROWS)] | None = None
    "One target for each of `rows`; for `dataset_rows` they replace the table's own."
    checkpoint: Checkpoint = "final"
    "`final`, the number of a stored epoch, or `latest`: final, or the newest stored state of an unfinished job."
    member: Index = 0
    "The member of an ensemble."

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
    "`checkpoint` is the state from which an unfinished job would resume."
    epoch: int
    step: int
    "How many steps of the next epoch were taken."


class LayerActivity(Shown):
    """One layer's values for the row, and the derivatives of the loss: one number for each unit.

    z is the weighted sum and a = f(z) the activation. grad_a is dL/da, and grad_z = dL/dz = dL/da x da/dz. A layer
    without a weighted sum (dropout, embedding, residual) has z = a. layers: the layers within a residual block.
    """

    type: str
    activation: str | None
    z: list[float | None]
    a: list[float | None]
    grad_a: list[float | None]
    grad_z: list[float | None]
    layers: "list[LayerActivity] | None"


class OutputShown(Shown):
    """The start of back-propagation, one number for each output: dL/da x da/dz in full, and dL/dz as in training.

    For softmax with cross-entropy, dL/da_k = -y_k / a_k and da_k/dz_j = a_k (delta_kj - a_j), whose products over k sum
    to a_j - y_j (Bishop 2006, equation 4.109). Sigmoid with binary cross-entropy, and e^z with Poisson's loss, also
    give a - y, divided by the number of outputs. `fused`: the loss is one of these, and dL_dz is the short form. A
    product beyond the range of float64 is null; the short form never is.
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
    """One row of a batch. product: its own gradient, dL_dz x dz_dw. share: the product over the number of rows."""

    row: int
    loss: float
    dL_da: Factor  # noqa: N815
    da_dz: Factor
    dL_dz: float | None  # noqa: N815
    dz_dw: float
    product: float
    share: float


class Penalty(Shown):
    """What the penalties add to dL/dw: l2 w + l1 sign(w) for weights and embeddings, 0 for biases."""

    l1: float
    l2: float
    gradient: float


class UpdateLine(Shown):
    """One line of a computation: name <- formula = value."""

    name: str
    formula: str
    value: float | None


class UpdateState(Shown):
    of: Literal["zero", "checkpoint"]
    "Whether the optimizer's state is zero, as before a first step, or that of the stored checkpoint."
    steps: int
    "How many steps the optimizer had taken before."


class Update(Shown):
    """The step that the job's own optimizer would take, line by line. The last line is the new value.

    The lines are the formulas of the papers: sgd w - eta g (Robbins and Monro 1951); momentum (Sutskever et al. 2013);
    adagrad (Duchi et al. 2011); rmsprop (Tieleman and Hinton 2012); adam (Kingma and Ba 2015, algorithm 1); adamw
    (Loshchilov and Hutter 2019); nadam (Dozat 2016); lion (Chen et al. 2023).
    """

    optimizer: str
    learning_rate: float
    "The rate that was recorded at the end of the checkpoint's epoch."
    state: UpdateState
    gradient_norm: float | None
    "The norm of the whole network's gradient on these rows, if clip_norm needs it."
    lines: list[UpdateLine]
    new_value: float | None


class WeightShown(Shown):
    """dL/dw_ij = dL/da_j x da_j/dz_j x dz_j/dw_ij (Rumelhart, Hinton and Williams 1986), in float64.

    dL_da and da_dz are vectors over k, and dL_dz = sum_k dL_da_k x da_dz_k, if the unit's z affects several
    activations: in a softmax, or through a layer_norm after a dense layer with activation `identity`. `a_of` is the
    layer whose activations these are. dz_dw is x_i for a weight, 1 for a bias or shift, the normalised n_j for a scale,
    and 1 or 0 for an embedding. gradient = dL_dz x dz_dw; for a batch, the mean of the rows' products.

    finite_difference: (L(w + h) - L(w - h)) / 2h, refined by h/2, with forward passes only. relative_error:
    |gradient - finite_difference| over the larger of the two. verdict: `agrees` to a millionth, or within round-off
    (`uncertainty`); `kink` if w is at a kink of the loss (a relu with z = 0, an absolute error of 0), where the left
    and right derivatives differ; `differs` is a fault of ours.
    """

    model_config = ConfigDict(populate_by_name=True)

    layer: int
    inner: int | None
    source: Annotated[int | Literal["bias", "scale", "shift"], Field(alias="from")]
    to: int
    name: str
    "The name of its array in a weights file; `index` is its place there."
    index: list[int]
    value: float
    a_of: UnitNamed | None
    rows: list[RowShare] | None
    "The rows of a batch, each with its own factors, which are null here then."
    dL_da: Factor  # noqa: N815
    da_dz: Factor
    dL_dz: float | None  # noqa: N815
    dz_dw: float | None
    gradient: float
    finite_difference: float
    relative_error: float
    uncertainty: float
    step: float
    "h, the step of the finite difference."
    agrees: bool
    kink: bool
    verdict: Literal["agrees", "kink", "differs"]
    left: float | None
    "The derivatives from either side of a kink."
    right: float | None
    penalty: Penalty
    total_gradient: float
    "The gradient with the penalties, which the optimizer gets."
    update: Update


class ChainRule(Shown):
    """The answer. For several rows the loss is their mean, and `layers` and `output` are null.

    Everything is computed in float64 from the stored weights, in inference mode: without dropout, and with batch_norm's
    running figures. Nothing is trained.
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
    "What was left out, and what training does differently."
