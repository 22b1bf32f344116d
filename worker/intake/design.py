"""A specification -> a design, which has everything that follows from it, or a SpecError. Nothing is stored."""

from dataclasses import dataclass, replace

from pydantic_core import to_json

from worker.data.folds import check_folds, check_stratified_folds, fold_rows
from worker.data.profiles import Remark, TableProfile
from worker.data.remarks import job_remarks
from worker.data.roles import Roles, assign_roles, with_own_table
from worker.data.splits import check_split, check_stratified, part_rows
from worker.errors import SpecError
from worker.intake.cost import Cost, estimate_cost
from worker.intake.datasets import Datasets, InlineRows
from worker.intake.start import Start, find_start
from worker.networks.layers import resolve_layers
from worker.networks.task import Task, resolve_task
from worker.networks.training import check_training
from worker.networks.warm_start import adopt_roles, adopted_features, check_start
from worker.records.new_jobs import JobColumns
from worker.settings import Limits
from worker.specs.dataset import InlineDataset
from worker.specs.encoding import EncodingRules
from worker.specs.job import Job
from worker.specs.network import ResolvedLayer
from worker.specs.training import RandomSplit, Training

METADATA_BYTES_LIMIT = 16 * 1024


@dataclass(frozen=True)
class Design:
    """Everything that follows from a job's specification.

    spec: the specification, in which an alias of a model is replaced by its version, so that it always means the same.
    roles: the role of each column.
    layers: the layers as they will be built.
    parts: how many rows the `train`, `validation` and `test` parts have.
    source: the id of the weights that the job starts from; None for random weights.
    rows: the inline rows, if the job has any.
    remarks: about the columns that it uses.
    """

    spec: Job
    roles: Roles
    task: Task
    layers: list[ResolvedLayer]
    cost: Cost
    parts: dict[str, int]
    source: str | None = None
    rows: InlineRows | None = None
    remarks: tuple[Remark, ...] = ()

    @property
    def job_columns(self) -> JobColumns:
        """What the job's row stores besides the specification."""
        roles = self.roles
        return JobColumns(
            features=[{"name": feature.name, "type": feature.type} for feature in roles.features],
            classes=None if roles.classes is None else list(roles.classes),
            parameters=self.cost.parameters,
            layers=self.cost.layers,
            source=self.source,
            remarks=[remark.model_dump() for remark in self.remarks] or None,
        )


def design_job(spec: Job, project_id: str, datasets: Datasets, limits: Limits) -> Design:
    """Return the design. Raises SpecError if the specification does not fit the table, the source or the limits."""
    _check_metadata(spec)
    start = _start(spec, project_id, datasets)
    if start is not None:
        spec = start.spec
    rows, profile = _profile(spec, project_id, datasets)
    # with a source, its features are meant
    roles = assign_roles(spec, profile, limits, leave_out=start is None)
    if roles.left_out:
        # said once: the job means the same to each worker, and when it is posted again
        spec = spec.model_copy(update={"features": tuple(feature.name for feature in roles.features)})
    if start is not None:
        roles = adopt_roles(roles, start.source)
    roles, of_own_tables = _with_own_tables(spec, profile, roles, project_id, datasets)
    task = resolve_task(spec, roles)
    layers = resolve_layers(spec, task, roles.columns)
    check_training(spec)
    if start is not None:
        # what does not fit is refused now, not by a worker
        check_start(spec, layers, roles.inputs, start.source)
    parts = _parts(spec, profile, roles) | of_own_tables
    target = profile.column(roles.targets[0])
    if roles.classes is not None and target is not None and target.counts is not None:
        check_stratified(spec.training, target.counts)
        check_stratified_folds(spec.training, target.counts)
    _check_steps(spec.training, parts["train"])
    cost = estimate_cost(spec.training, layers, replace(roles, rows=sum(parts.values())), limits)
    source, remarks = start and start.weights_id, job_remarks(profile, roles)
    if start is not None and adopted_features(roles, start.source) is not None and _is_encoded(spec):
        detail = "the columns are encoded as those of the source are, whatever encoding and columns say"
        remarks = (*remarks, Remark(column=None, code="adopted", detail=detail))
    return Design(spec, roles, task, layers, cost, parts, source, rows, remarks)


def _check_metadata(spec: Job) -> None:
    """Raise SpecError for metadata that are too large: each list of jobs repeats them.

    Checked here and not by the model, which also reads the jobs of older versions.
    """
    size = len(to_json(spec.metadata))
    if size > METADATA_BYTES_LIMIT:
        raise SpecError("/metadata", f"must be at most {METADATA_BYTES_LIMIT} bytes of JSON, not {size}")


def _start(spec: Job, project_id: str, datasets: Datasets) -> Start | None:
    if spec.start_from is None:
        return None
    with datasets.database.reading() as session:
        return find_start(session, project_id, spec, spec.start_from)


def _profile(spec: Job, project_id: str, datasets: Datasets) -> tuple[InlineRows | None, TableProfile]:
    if isinstance(spec.dataset, InlineDataset):
        rows = datasets.parse_rows(spec.dataset)
        return rows, rows.profile
    return None, datasets.profile(project_id, spec.dataset)


def _with_own_tables(
    spec: Job, profile: TableProfile, roles: Roles, project_id: str, datasets: Datasets
) -> tuple[Roles, dict[str, int]]:
    """Return the roles with the tables that parts have of their own, and how many rows these parts have."""
    rows = {}
    for part, dataset in spec.training.own_tables.items():
        try:
            own = datasets.profile(project_id, dataset)
        except SpecError as error:
            raise SpecError(f"/training/{part}{error.pointer}", error.detail) from error
        roles, rows[part] = with_own_table(roles, spec, profile, own, f"/training/{part}/dataset")
    return roles, rows


def _parts(spec: Job, profile: TableProfile, roles: Roles) -> dict[str, int]:
    """Return how many rows each part has of the job's table. Raises SpecError for what the split can't do."""
    training = spec.training
    check_split(training)
    check_folds(training)
    column = None if isinstance(training.split, RandomSplit) else profile.column(training.split.column)
    parts = part_rows(training, roles.rows, column)
    if training.validation.folds is not None:
        held = fold_rows(training, parts["train"])
        parts |= {"train": parts["train"] - held, "validation": held}
    return parts


def _is_encoded(spec: Job) -> bool:
    """Return whether the job says how its columns are encoded."""
    overrides = spec.columns.values()
    return spec.encoding != EncodingRules() or any(override.encodes for override in overrides)


def _check_steps(training: Training, rows: int) -> None:
    """Raise SpecError if a step that should be kept is past the end of the run. rows: those of the training part."""
    steps = training.epochs * -(-rows // min(training.batch_size, rows))
    for n, step in enumerate(training.replay_steps):
        if step > steps:
            raise SpecError(f"/training/replay_steps/{n}", f"is past the {steps} steps of this run")
