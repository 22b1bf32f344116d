"""What follows from target and loss, and the pointers of what does not fit."""

from typing import Any

import numpy as np
import pytest

from tests.worker.networks.conftest import job, roles_of
from worker.errors import SpecError
from worker.networks.task import Task, build_metrics, build_objective, resolve_task, row_weights


def task_of(training: dict[str, Any] | None = None, **changes: Any) -> Task:
    spec = job(training, **changes)
    return resolve_task(spec, roles_of(spec))


@pytest.mark.parametrize(
    ("loss", "target", "expected"),
    [
        ("auto", "label", ("classes", "cross_entropy", 2, "softmax", "SoftmaxCrossEntropy")),
        ("auto", "price", ("numbers", "mean_squared_error", 1, "identity", "MeanSquaredError")),
        ("mean_squared_error", "grade", ("classes", "mean_squared_error", 3, "softmax", "MeanSquaredError")),
        ("binary_cross_entropy", "label", ("classes", "binary_cross_entropy", 1, "sigmoid", "BinaryCrossEntropy")),
        (
            "binary_cross_entropy",
            ("red", "round"),
            ("labels", "binary_cross_entropy", 2, "sigmoid", "BinaryCrossEntropy"),
        ),
        ("mean_absolute_error", ("price", "x"), ("numbers", "mean_absolute_error", 2, "identity", "MeanAbsoluteError")),
        ({"type": "huber", "delta": 0.5}, "price", ("numbers", "huber", 1, "identity", "Huber")),
        ("log_cosh", "price", ("numbers", "log_cosh", 1, "identity", "LogCosh")),
        ("poisson", "count", ("numbers", "poisson", 1, "exponential", "Poisson")),
        ({"type": "quantile", "quantile": 0.9}, "price", ("numbers", "quantile", 1, "identity", "Quantile")),
    ],
)
def test_the_output_follows_from_target_and_loss(loss: Any, target: Any, expected: tuple[Any, ...]) -> None:
    """Kind, outputs, activation and objective follow from the loss and the target columns."""
    task = task_of({"loss": loss}, target=target, features=("kind", "grade") if target != "grade" else ("kind",))
    found = (task.kind, task.loss, task.outputs, task.activation, type(build_objective(task)).__name__)
    assert found == expected


def test_a_losss_own_numbers_reach_it() -> None:
    """delta, label_smoothing and the default quantile arrive in the objective."""
    huber = build_objective(task_of({"loss": {"type": "huber", "delta": 0.5}}, target="price"))
    assert huber.delta == 0.5  # type: ignore[attr-defined]
    smoothed = build_objective(task_of({"loss": {"type": "cross_entropy", "label_smoothing": 0.1}}))
    assert smoothed.smoothing == 0.1  # type: ignore[attr-defined]
    median = build_objective(task_of({"loss": "quantile"}, target="price"))
    assert median.quantile == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("training", "changes", "pointer", "said"),
    [
        ({"loss": "cross_entropy"}, {"target": "price"}, "/training/loss", "needs a category"),
        ({"loss": "huber"}, {}, "/training/loss", "needs a number"),
        ({"loss": "binary_cross_entropy"}, {"target": "grade", "features": ("x",)}, "/training/loss", "has 3"),
        ({"loss": "binary_cross_entropy"}, {"target": "price"}, "/training/loss", "columns of 0 and 1; 'price'"),
        ({"loss": "poisson"}, {"target": "price2"}, "/target", "no such column"),
        ({"metrics": ["accuracy", "rmse"]}, {}, "/training/metrics/1", "figure of a category; these are: accuracy"),
        ({"metrics": ["top_2"], "loss": "binary_cross_entropy"}, {}, "/training/metrics/0", "always 1 of 2 classes"),
        ({"metrics": ["accuracy"]}, {"target": "price"}, "/training/metrics/0", "figure of numbers"),
        (
            {"early_stopping": {"monitor": "validation_r2"}},
            {},
            "/training/early_stopping/monitor",
            "validation_accuracy",
        ),
        (
            {"loss": {"type": "cross_entropy", "class_weights": {"maybe": 2.0}}},
            {},
            "/training/loss/class_weights/maybe",
            "these are: no, yes",
        ),
        (
            {"loss": {"type": "binary_cross_entropy", "class_weights": "balanced"}},
            {"target": ("red", "round")},
            "/training/loss/class_weights",
            "needs a category",
        ),
    ],
)
def test_what_does_not_fit_is_named_by_its_pointer(
    training: dict[str, Any], changes: dict[str, Any], pointer: str, said: str
) -> None:
    """Each setting that the target can't have is refused with its pointer and the reason."""
    with pytest.raises(SpecError, match=said) as caught:
        task_of(training, **changes)
    assert caught.value.pointer == pointer


@pytest.mark.parametrize(
    ("loss", "target", "activation"),
    [
        ("cross_entropy", "label", "relu"),
        ("binary_cross_entropy", "label", "softmax"),
        ("poisson", "count", "identity"),
        ("mean_squared_error", "label", "relu"),
    ],
)
def test_an_activation_that_the_loss_can_not_have_is_refused(loss: str, target: str, activation: str) -> None:
    """The refusal points at the output's activation and names the one that was asked for."""
    with pytest.raises(SpecError, match=f"got {activation}") as caught:
        task_of({"loss": loss}, target=target, network={"layers": [], "output": {"activation": activation}})
    assert caught.value.pointer == "/network/output/activation"


def test_a_figure_of_probabilities_needs_such_as_add_up_to_1() -> None:
    """A squared error of a category into sigmoid outputs trains, but has no log loss."""
    network = {"layers": [], "output": {"activation": "sigmoid"}}
    assert not task_of({"loss": "mean_squared_error"}, network=network).is_probable
    with pytest.raises(SpecError, match="which sigmoid does not give") as caught:
        task_of({"loss": "mean_squared_error", "metrics": ["accuracy", "log_loss"]}, network=network)
    assert caught.value.pointer == "/training/metrics/1"


def test_negative_counts_are_refused() -> None:
    """A column with a negative number is no target of Poisson's loss."""
    with pytest.raises(SpecError, match="poisson needs counts"):
        task_of({"loss": "poisson"}, target="x", features=("kind",))


def test_balanced_classes_count_alike_and_multiply_a_rows_weight() -> None:
    """With three rows of one class and one of the other, each class weighs 2 in sum, in other parts too."""
    labels, train = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 3])
    task = task_of({"loss": {"type": "cross_entropy", "class_weights": "balanced"}})
    np.testing.assert_allclose(row_weights(task, labels, train, None), [2 / 3, 2 / 3, 2 / 3, 2, 2])
    column = np.array([1.0, 2, 3, 4, 5])
    np.testing.assert_allclose(row_weights(task, labels, train, column), column * [2 / 3, 2 / 3, 2 / 3, 2, 2])
    named = task_of({"loss": {"type": "cross_entropy", "class_weights": {"yes": 5.0}}})
    np.testing.assert_allclose(row_weights(named, labels, train, None), [1, 1, 1, 5, 5])
    assert row_weights(task_of(), labels, train, None) is None


def test_errors_of_numbers_are_in_the_users_units() -> None:
    """rmse and mae are multiplied by the scale of the target; r2 needs none."""
    spec = job({"metrics": ["rmse", "mae", "r2"]}, target="price")
    metrics = build_metrics(spec, resolve_task(spec, roles_of(spec)), (20.0,))
    a, y = np.array([[1.0, 2.0]]), np.array([[0.0], [2.0]])
    assert list(metrics) == ["rmse", "mae", "r2"]
    assert metrics["mae"](a, y) == 10.0
    assert metrics["rmse"](a, y) == pytest.approx(20 / np.sqrt(2))


@pytest.mark.parametrize("loss", ["mean_squared_error", "mean_absolute_error", "log_cosh", "huber", "quantile"])
def test_a_loss_is_named_alone_or_in_an_object(loss: str) -> None:
    """Both forms give the same objective."""
    alone, within = (task_of({"loss": form}, target="price") for form in (loss, {"type": loss}))
    assert (alone.loss, type(build_objective(alone))) == (within.loss, type(build_objective(within)))
