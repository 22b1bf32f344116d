"""The specification of training: parts of the data, optimizer, schedule, length, regularisation, and what is kept."""

from typing import Annotated, Literal

from pydantic import Field

from worker.specs.base import AtMost, Boolean, ColumnName, Integer, Number, Seed, Spec
from worker.specs.dataset import StoredDataset
from worker.specs.losses import Loss
from worker.specs.optimizers import Adam, Optimizer
from worker.specs.schedules import ConstantSchedule, Schedule

Metric = Literal[
    "accuracy",
    "top_2",
    "top_3",
    "top_5",
    "balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "log_loss",
    "r2",
    "rmse",
    "mae",
]


class RandomSplit(Spec):
    """Rows are divided at random, by the seed; if the target is a category, with the share of each class."""

    type: Literal["random"] = "random"


class GroupedSplit(Spec):
    """Rows with the same value in a column are all in one part, such as those of one patient.

    A part has about its fraction of the rows: as many groups as come nearest to it.
    """

    type: Literal["grouped"]
    column: ColumnName
    "A feature only if `features` lists it."


class OrderedSplit(Spec):
    """The test part has the last rows in the order of a column, and the validation part those before: of time, say.

    Rows of one moment may be in two parts.
    """

    type: Literal["ordered"]
    column: ColumnName
    "Numbers, or dates such as 2026-11-27. A feature only if `features` lists it."


class ColumnSplit(Spec):
    """A column says which part each row is in: `train`, `validation` or `test`."""

    type: Literal["column"]
    column: ColumnName


SplitRule = Annotated[RandomSplit | GroupedSplit | OrderedSplit | ColumnSplit, Field(discriminator="type")]


class Validation(Spec):
    """The part of the rows that is never trained on and is measured after each epoch."""

    fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.2
    "0 turns it off. A table of fewer than 20 rows has no validation part, and its training loss is monitored instead."
    stratify: Boolean | None = None
    "Keep the share of each class. null: do so if every class has enough rows."
    dataset: StoredDataset | None = None
    "A table whose rows are this part, instead of rows of the job's table."
    folds: Annotated[Integer, Field(ge=2, le=20)] | None = None
    """Cross-validation: so many networks are trained at once, each without one fold of the rows, on which it is
    measured. The figures are their means, and the result predicts as an ensemble of them. Scales and categories are
    fitted on the rows of all folds."""


class Test(Spec):
    """The part of the rows that is measured once, at the end."""

    __test__ = False  # not a test case, whatever its name says to pytest

    fraction: Annotated[Number, Field(gt=0, lt=1)] = 0.1
    stratify: Boolean | None = None
    "Keep the share of each class. null: do so if every class has enough rows."
    dataset: StoredDataset | None = None
    "A table whose rows are this part, instead of rows of the job's table."


class EarlyStopping(Spec):
    """End when the monitored figure has not improved for `patience` epochs."""

    monitor: Annotated[str, Field(pattern=r"^(train|validation)_[a-z0-9_]{1,40}$")] = "validation_loss"
    """Any figure of the curve: `validation_loss`, `train_loss`, or one of the metrics, such as `validation_accuracy`.
    Without a validation part, the figure of the training part is used."""
    patience: Annotated[Integer, Field(ge=1, le=1_000_000)] = 10
    minimum_delta: Annotated[Number, Field(ge=0)] = 0.0
    "A smaller change does not count as an improvement."
    restore_best: Boolean = True
    "The result has the weights of the best epoch instead of the last."


class Training(Spec):
    loss: Loss = "auto"
    """A name, or an object with parameters, such as `{"type": "huber", "delta": 0.5}`. `auto`: cross_entropy for a
    category, mean_squared_error for numbers."""
    metrics: Annotated[tuple[Metric, ...], AtMost(8)] | None = None
    """Recorded each epoch beside the loss; a row counts as much as it does in the loss. Those of the training part, as
    its loss, are of each batch before the step that it makes, with dropout; those of the validation part are of the
    weights after the epoch's last step. null: accuracy for a category, r2 for numbers. For a category: accuracy,
    top_2, top_3, top_5, balanced_accuracy, macro_f1, roc_auc, log_loss; for numbers: r2, and rmse and mae in the
    target's own units."""
    optimizer: Optimizer = Adam(type="adam")
    schedule: Schedule = ConstantSchedule(type="constant")
    epochs: Annotated[Integer, Field(ge=1, le=1_000_000)] = 30
    batch_size: Annotated[Integer, Field(ge=1, le=1_000_000)] = 32
    "A batch larger than the training part is the training part."
    accumulate: Annotated[Integer, Field(ge=1, le=10_000)] = 1
    """The number of batches whose gradients make one step. It has the effect of a larger batch in the memory of a small
    one, but batch_norm sees each batch alone."""
    seed: Seed = 0
    "The seed of the initial weights, the split, the shuffling and dropout. The same seed gives the same bits."
    ensemble: Annotated[Integer, Field(ge=1, le=64)] = 1
    """The number of networks that are trained at once, with the seeds seed, seed + 1, ... The result predicts their
    mean and how far they differ. 64 small networks cost about as much as 10."""
    precision: Literal["float32", "float64"] = "float32"
    "float64 takes twice the memory and time; for small problems that need every digit."
    l1: Annotated[Number, Field(ge=0, le=1000)] = 0.0
    "Adds l1 times the sum of the magnitudes of the weights (not the biases) to the loss. Many become nearly 0."
    l2: Annotated[Number, Field(ge=0, le=1000)] = 0.0
    "Adds l2/2 times the sum of the squared weights (not the biases) to the loss."
    clip_norm: Annotated[Number, Field(ge=1e-30)] | None = None
    "Scale a gradient down to this Euclidean norm if it is longer."
    clip_value: Annotated[Number, Field(ge=1e-30)] | None = None
    "Clip each element of a gradient to this magnitude."
    split: SplitRule = RandomSplit()
    "How the rows of the table are divided into the parts."
    validation: Validation = Validation()
    test: Test | None = None
    early_stopping: EarlyStopping | None = None
    max_seconds: Annotated[Number, Field(gt=0, le=7 * 86_400)] = 86_400.0
    "Training time of one attempt in seconds. A job that takes longer fails as `timed_out`."
    threads: Annotated[Integer, Field(ge=1, le=64)] = 1
    "BLAS threads. One is best except for large layers."
    checkpoint_seconds: Annotated[Number, Field(ge=0.1, le=86_400)] = 10.0
    "Time between the checkpoints from which a killed job resumes; longer if a checkpoint takes over 2.5 % of it."
    replay_steps: Annotated[tuple[Annotated[Integer, Field(ge=1, lt=2**63)], ...], AtMost(4)] = ()
    """Steps, counted from 1 over the whole run, whose tensors are all kept: inputs, z, a, gradients, the update, and
    the weights before and after. Needs a single network and one batch per step; at most 32 MiB in all."""
    snapshots: Annotated[Integer, Field(ge=0, le=32)] = 32
    "The largest number of snapshots of the weights that are kept, log-spaced over the epochs."

    @property
    def members(self) -> int:
        """How many networks are trained at once."""
        return self.validation.folds or self.ensemble

    @property
    def own_tables(self) -> dict[str, StoredDataset]:
        """The tables of the parts that have one of their own, by part."""
        parts = {"validation": self.validation.dataset, "test": self.test and self.test.dataset}
        return {part: dataset for part, dataset in parts.items() if dataset}
