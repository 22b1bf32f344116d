"""The schemas of requests and answers about jobs, curves and evaluations."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from service.schemas.common import SPELLED, ListOf, Page, Query, QueryBoolean, Remark, Shown
from worker.records.states import STATUSES, Status
from worker.specs.base import CheckpointName, Name, Text
from worker.specs.job import Job as JobSpec

NEEDED = ("dataset", "target", "network")
SEVERAL = "^({0})(,({0}))*$".format("|".join(STATUSES))


class SubmitQuery(Query):
    dry_run: QueryBoolean = False


def _as_patch(schema: dict[str, Any]) -> None:
    """Change the JSON Schema of a job into that of a patch: no member is required, and null removes one."""
    members = schema["properties"]
    for name, member in members.items():
        member.pop("default", None)
        if name not in NEEDED:
            members[name] = {"anyOf": [member, {"type": "null"}]}
    del schema["required"]


class Retry(JobSpec):
    """Members that replace those of the job's specification, as a JSON merge patch (RFC 7396)."""

    model_config = ConfigDict(json_schema_extra=_as_patch)


class JobsQuery(Page):
    status: Annotated[str, Field(pattern=SEVERAL, description="One status, or several with commas between.")] | None = (
        None
    )
    name: Text | None = None
    tag: Name | None = None


class CurveQuery(Query):
    after_epoch: Annotated[int, Field(ge=0, lt=2**31), SPELLED] = 0
    max_points: Annotated[int, Field(ge=2, le=20_000), SPELLED] | None = None


class EventsQuery(Query):
    after: Annotated[int, Field(ge=0, lt=10**18), SPELLED] | None = None


class WeightsQuery(Query):
    checkpoint: CheckpointName = "final"


class Progress(Shown):
    epoch: int
    epochs: int
    fraction: float
    eta_seconds: float | None


class EpochSummary(Shown):
    epoch: int
    train_loss: float | None
    validation_loss: float | None
    metrics: dict[str, float | None]


class TestFigures(Shown):
    __test__ = False

    loss: float
    metrics: dict[str, float | None]


class FeatureShown(Shown):
    name: str
    type: Literal["numeric", "categorical"]


class JobError(Shown):
    code: Literal["diverged", "invalid_data", "out_of_memory", "crashed", "timed_out", "internal"]
    message: str
    epoch: int | None


class Hint(Shown):
    code: Literal["diverging", "stalled", "unfinished", "over_fitting", "dead_units"]
    message: str


class JobLinks(Shown):
    self: str
    curve: str
    events: str
    predict: str
    weights: str
    evaluation: str
    chain_rule: str
    certificate: str
    histograms: str
    steps: str
    held_out: str
    page: str


class ModelOfJob(Shown):
    name: str
    version: int


class JobBrief(Shown):
    """A job in a list or an event."""

    id: str
    name: str
    status: Status
    attempt: int
    "How many times a worker has claimed it."
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    latest: EpochSummary | None
    best: EpochSummary | None
    """The epoch with the best monitored figure so far. `training.early_stopping.monitor` names the figure; by default
    it is the validation loss, or the train loss where there is no validation part."""
    test: TestFigures | None
    parameters: int
    classes: list[str] | None
    queue_position: int | None
    "1 for the next job to run; 1,000 for that place and every later one. None unless the job is queued."
    error: JobError | None
    hints: list[Hint] | None
    "Hints about the curve, in words; null until the job has ended."
    model: ModelOfJob | None
    "The newest version that serves its final weights."
    retry_of: str | None
    tags: list[str]
    links: JobLinks


class LayerShape(Shown):
    type: str
    inputs: int
    outputs: int
    activation: str | None
    parameters: int


class Job(JobBrief):
    layers: list[LayerShape]
    "The layers if every category occurs in the training part, the output layer last."
    features: list[FeatureShown]
    remarks: list[Remark]
    "About the columns that it uses, as its dry run had them."
    metadata: dict[str, JsonValue]
    spec: JobSpec
    "As submitted, with every default filled in."


class JobList(ListOf):
    data: list[JobBrief]


class PartRows(Shown):
    train: int
    validation: int
    test: int


class DryRun(Shown):
    """The job as it would be; nothing was stored. Sizes assume that every category occurs in the training part."""

    features: list[FeatureShown]
    classes: list[str] | None
    inputs: int
    outputs: int
    layers: list[LayerShape]
    rows: PartRows
    parameters: int
    memory_bytes: int
    flops: int
    remarks: list[Remark]
    spec: JobSpec


class LayerFigures(Shown):
    """Euclidean norms over a layer's weights and biases; null for a layer that has none."""

    units: int
    weight_norm: float | None
    gradient_norm: float | None
    "The norm at the epoch's last step, before clipping."
    update_norm: float | None
    "The norm of the change of the weights in that step."
    dead_units: float | None
    "How many units give the same value for every row; for an ensemble, the mean over its members."


class Curve(Shown):
    """Columns of equal length; a value that was not finite is null."""

    epochs: list[int]
    train_loss: list[float | None]
    validation_loss: list[float | None]
    metrics: dict[str, list[float | None]]
    learning_rate: list[float]
    gradient_norm: list[float | None]
    layers: list[list[LayerFigures] | None]
    "The figures of each layer, the output layer last; null in most epochs: at most 256 epochs of a job have them."
    seconds: list[float]


class FoldFigure(Shown):
    """A figure of each fold, with its mean and its standard deviation; null for one that a fold does not have."""

    name: str
    mean: float | None
    deviation: float | None
    each: list[float | None]


class PartEvaluation(Shown):
    loss: float
    rows: int
    metrics: dict[str, float | None]
    labels: dict[str, Any] | None = None
    confusion: dict[str, Any] | None = None
    residuals: dict[str, Any] | None = None
    folds: list[FoldFigure] | None = None
    "Of a cross-validation: its loss and each metric. The part is then all rows, each held out of one fold."


class Evaluation(Shown):
    validation: PartEvaluation | None
    test: PartEvaluation | None
