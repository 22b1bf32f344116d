"""Jobs of every kind from their specification: built, trained, resumed to the bit, and served."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.intake.test_layers_and_cost import EVERY
from tests.worker.networks.conftest import TABLE, job
from worker.backprop.plan import State
from worker.errors import DivergedError
from worker.networks.predictor import Prediction, Predictor
from worker.networks.trained import Trained
from worker.records.checkpoints import state_from_bytes, state_to_bytes
from worker.records.weights import from_bytes, to_bytes
from worker.running.loading import Loaded, evaluate, load
from worker.settings import Limits
from worker.specs.job import Job

OPTIMIZERS: list[dict[str, Any]] = [
    {"type": "sgd", "learning_rate": 0.05},
    {"type": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"type": "adagrad", "learning_rate": 0.05},
    {"type": "rmsprop", "learning_rate": 0.01},
    {"type": "adam", "learning_rate": 0.01},
    {"type": "adamw", "learning_rate": 0.01},
    {"type": "nadam", "learning_rate": 0.01},
    {"type": "lion", "learning_rate": 0.005},
]
SCHEDULES: list[dict[str, Any]] = [
    {"type": "constant"},
    {"type": "step", "every": 2, "factor": 0.5},
    {"type": "exponential"},
    {"type": "cosine", "warmup_epochs": 1},
    {"type": "one_cycle"},
    {"type": "plateau", "patience": 0, "factor": 0.5},
]
TARGETS: list[tuple[Any, Any]] = [
    ("label", "auto"),
    ("label", {"type": "cross_entropy", "label_smoothing": 0.1, "class_weights": "balanced"}),
    ("label", "binary_cross_entropy"),
    ("price", "auto"),
    ("price", "huber"),
    (("price", "count"), "log_cosh"),
    ("count", "poisson"),
    (("red", "round"), "binary_cross_entropy"),
]


def loaded(spec: Job) -> Loaded:
    return load(spec, TABLE, Limits())


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    target, loss = draw(st.sampled_from(TARGETS))
    training = {
        "loss": loss,
        "optimizer": draw(st.sampled_from(OPTIMIZERS)),
        "schedule": draw(st.sampled_from(SCHEDULES)),
        "epochs": draw(st.integers(1, 6)),
        "batch_size": draw(st.integers(2, 70)),
        "accumulate": draw(st.integers(1, 3)),
        "seed": draw(st.integers(0, 2**62)),
        "ensemble": draw(st.sampled_from([1, 1, 3])),
        "precision": draw(st.sampled_from(["float32", "float64"])),
        "l1": draw(st.sampled_from([0.0, 0.001])),
        "l2": draw(st.sampled_from([0.0, 0.01])),
        "clip_norm": draw(st.sampled_from([None, 0.5])),
        "clip_value": draw(st.sampled_from([None, 0.1])),
        "validation": {"fraction": draw(st.sampled_from([0, 0.2]))},
        "early_stopping": draw(st.sampled_from([None, {"patience": 2}, {"patience": 1, "restore_best": False}])),
    }
    layers = draw(st.lists(st.sampled_from(EVERY[1:2] + EVERY[2:3] + EVERY[4:]), max_size=3))
    weight = draw(st.sampled_from([None, "weight"]))
    return job(training, EVERY[:4] + layers if draw(st.booleans()) else layers, target=target, weight=weight)


@settings(max_examples=60, deadline=None)
@given(jobs(), st.integers(1, 60), st.integers(1, 60))
def test_stopped_at_any_step_and_resumed_elsewhere_is_the_same_run(
    spec: Job, first_stop: int, second_stop: int
) -> None:
    """A run that went twice through the bytes of a checkpoint has the same curve and weights to the bit."""
    whole = loaded(spec).training
    try:
        curve = list(whole.run(lambda: False))
    except DivergedError:
        return
    found: list[Any] = []
    state: State | None = None
    for stop in (first_stop, second_stop, None):
        training = loaded(spec).training
        if state is not None:
            training.restore(state_from_bytes(state_to_bytes(state)))
        steps = itertools.count(1)
        found += training.run(lambda steps=steps, stop=stop: next(steps) == stop)  # type: ignore[misc]
        state = training.state()
        json.loads(json.dumps(state.values, allow_nan=False))
    assert found == curve or [repr(epoch) for epoch in found] == [repr(epoch) for epoch in curve]
    np.testing.assert_array_equal(training.parameters.flat, whole.parameters.flat)
    np.testing.assert_array_equal(training.final.flat, whole.final.flat)


def served(found: Loaded) -> Prediction:
    """Return what the published weights predict for the table's first rows."""
    arrays = from_bytes(to_bytes(found.training.final.named()))
    predictor = Predictor(Trained(found.layers, found.encoders, arrays))
    rows = TABLE.select(["x", "kind", "grade"]).slice(0, 5).to_pylist()
    prediction = predictor.predict_rows(rows)
    by_table = predictor.predict_table(TABLE.slice(0, 5))
    # the table has columns that the model does not
    assert {warning["row"] for warning in by_table.warnings.first} == {None}
    assert by_table._replace(warnings=prediction.warnings) == prediction
    return prediction


@pytest.mark.parametrize(("target", "loss"), TARGETS, ids=str)
@pytest.mark.parametrize("ensemble", [1, 4])
def test_each_kind_of_job_trains_and_serves(target: Any, loss: Any, ensemble: int) -> None:
    """The loss falls, evaluation and predictions have the shape of the target, and an ensemble has a spread."""
    training = {"loss": loss, "ensemble": ensemble, "epochs": 40, "test": {"fraction": 0.2}}
    found = loaded(job(training, EVERY[:5], target=target))
    curve = list(found.training.run(lambda: False))
    assert curve[-1].train_loss < curve[0].train_loss
    evaluation = evaluate(found)
    assert np.isfinite(evaluation["test"]["loss"])
    prediction = served(found)
    assert (prediction.spread is None) == (ensemble == 1)
    if target == "label":
        assert set(prediction.predictions) <= {"yes", "no"}
        np.testing.assert_allclose(np.sum(prediction.probabilities, axis=1), 1, rtol=1e-5)
        assert evaluation["test"]["confusion"]["classes"] == ["no", "yes"]
    elif target == ("red", "round"):
        assert prediction.classes == ["red", "round"]
        assert set(np.ravel(prediction.predictions)) <= {0, 1}
        assert set(evaluation["test"]["labels"]) == {"red", "round"}
    else:
        assert prediction.classes is None
        near = np.ravel(prediction.predictions)[0] if target != ("price", "count") else prediction.predictions[0][0]
        # in the table's own units
        assert near > 40 if "price" in target else near > 0


def test_an_ensemble_predicts_its_members_mean() -> None:
    """Its prediction is the mean of what its members predict one by one, and its spread their standard deviation."""
    found = loaded(job({"ensemble": 3, "epochs": 3}, target="price"))
    list(found.training.run(lambda: False))
    prediction = served(found)
    target = found.encoders.target
    trained = Trained(found.layers, found.encoders, found.training.final.named())
    members = []
    for n in range(3):
        one = Predictor(trained.member(n))
        members.append(one.predict_table(TABLE.slice(0, 5)).predictions)
    np.testing.assert_allclose(prediction.predictions, np.mean(members, axis=0), rtol=1e-5)
    np.testing.assert_allclose(prediction.spread, np.std(members, axis=0), rtol=1e-3)
    assert target.type == "number"


def test_the_quantile_that_is_asked_for_is_learned() -> None:
    """About nine rows in ten lie below the 0.9 quantile."""
    training = {"loss": {"type": "quantile", "quantile": 0.9}, "epochs": 300, "validation": {"fraction": 0}}
    found = loaded(job(training | {"optimizer": {"type": "adam", "learning_rate": 0.01}}, [], target="price"))
    list(found.training.run(lambda: False))
    part = found.parts["train"]
    assert part is not None
    a = found.training.network.forward(found.training.final, part.x)
    assert np.mean(part.y <= a) == pytest.approx(0.9, abs=0.07)


def test_a_category_that_training_never_saw_is_the_point_0() -> None:
    """A pooled category is the embedding's last row, which no step has changed."""
    spec = job(layers=EVERY[:1], columns={"kind": {"type": "categorical", "unknown": "pool"}})
    found = loaded(spec)
    list(found.training.run(lambda: False))
    table = found.training.final.named()["layers.0.w"]
    assert table.shape == (5, 3)
    assert not table[-1].any()
    assert np.abs(table[:-1]).min() > 0
    predictor = Predictor(Trained(found.layers, found.encoders, found.training.final.named()))
    assert predictor.predict_rows([{"x": 0.0, "kind": "new", "grade": "low"}]).predictions[0] in ("yes", "no")
