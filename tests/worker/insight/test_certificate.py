"""The certificate: right gradients agree, a fault in any layer is found, and a job's end does not hang on it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.conftest import spec_of
from tests.worker.insight.conftest import dense
from worker.backprop.activations import Tanh
from worker.backprop.fit import Training
from worker.backprop.layers.dense import DensePass
from worker.backprop.layers.embedding import EmbeddingPass
from worker.backprop.layers.normalization import NormPass
from worker.backprop.losses.classes import SoftmaxCrossEntropy
from worker.data.inline import inline_table
from worker.data.sources import make_table
from worker.insight import certificate
from worker.insight.certificate import certify
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.running.loading import Loaded, load
from worker.running.run import Runner
from worker.settings import Limits
from worker.specs.dataset import InlineDataset

MIXED: dict[str, Any] = {
    "dataset": {
        "source": "inline",
        "columns": ["n", "kind", "weight", "label"],
        "rows": [[float(n), "abc"[n % 3], 1 + n % 4, "xy"[n * n % 5 % 2]] for n in range(40)],
    },
    "weight": "weight",
    "network": {
        "layers": [
            {"type": "embedding", "column": "kind", "dimensions": 2},
            dense(6, "identity"),
            {"type": "batch_norm", "activation": "tanh"},
            {"type": "dropout", "rate": 0.3},
            {"type": "residual", "layers": [dense(4, "elu"), {"type": "layer_norm"}, dense(6, "relu")]},
        ]
    },
}


def loaded(**changes: Any) -> Loaded:
    """Return a job's training before its first step, and what belongs to it."""
    spec = spec_of(**changes)
    table = inline_table(spec.dataset) if isinstance(spec.dataset, InlineDataset) else make_table(spec.dataset)  # type: ignore[arg-type]
    return load(spec, table, Limits())


def trained(**changes: Any) -> Training:
    """Return a job's training at its end."""
    training = loaded(**changes).training
    for _ in training.run(lambda: False):
        pass
    return training


@pytest.mark.parametrize(
    "changes",
    [
        {},
        MIXED,
        MIXED | {"training": {"ensemble": 3, "precision": "float64"}},
        {"training": {"early_stopping": {"patience": 1}, "optimizer": {"type": "sgd", "learning_rate": 0.5}}},
        {"dataset": {"source": "builtin", "name": "diabetes"}, "target": "target", "training": {"loss": "log_cosh"}},
        {"dataset": {"source": "builtin", "name": "diabetes"}, "target": "target", "training": {"loss": "poisson"}},
        {"dataset": {"source": "builtin", "name": "diabetes"}, "target": "target",
         "training": {"loss": "mean_absolute_error"}},
        {"dataset": {"source": "builtin", "name": "xor"}, "training": {"loss": "binary_cross_entropy"}},
    ],
)  # fmt: skip
def test_right_gradients_agree_in_every_layer(changes: dict[str, Any]) -> None:
    """The directional derivative of each layer with weights agrees to a millionth or to round-off."""
    training = trained(**changes)
    found = certify(training)
    assert found["verdict"] == "agrees", found
    assert [layer["layer"] for layer in found["layers"]] == [
        n for n, layer in enumerate(training.network.layers) if layer.shapes
    ]
    for layer in found["layers"]:
        assert layer["gradient"] != 0
        assert abs(layer["gradient"] - layer["finite_difference"]) < 1e-6 * abs(layer["gradient"]) + 1e-8


def test_what_is_certified_is_the_loss_of_the_final_weights_on_rows_of_the_training_part() -> None:
    """The loss is that of eight evenly spaced rows, computed by hand in float64."""
    training = trained()
    found = certify(training)
    rows = np.linspace(0, training.train.rows - 1, 8).astype(int)
    arrays = {name: array.astype(np.float64) for name, array in training.final.named().items()}
    x, labels = training.train.x[rows].astype(np.float64), training.train.y[rows]

    def loss(w: Any) -> Any:
        z = np.tanh(x @ w + arrays["layers.0.b"]) @ arrays["layers.1.w"] + arrays["layers.1.b"]
        return (np.log(np.exp(z).sum(axis=1)) - z[np.arange(8), labels]).mean()

    assert (found["rows"], found["loss"]) == (8, pytest.approx(loss(arrays["layers.0.w"]), rel=1e-12))
    assert [layer["numbers"] for layer in found["layers"]] == [4 * 8 + 8, 8 * 3 + 3]


@pytest.mark.parametrize(
    ("kind", "method", "layer"),
    [(DensePass, "backward_from_z", 6), (NormPass, "backward", 2), (EmbeddingPass, "backward", 0)],
)
def test_a_fault_in_a_layers_own_gradient_is_found(
    kind: Any, method: str, layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient that is a thousandth too long differs, and its layer is named."""
    layers = MIXED["network"]["layers"][:4]
    training = trained(**MIXED | {"network": {"layers": [*layers, dense(3), dense(3)]}})
    right = getattr(kind, method)

    def wrong(self: Any, grad: Any) -> Any:
        result = right(self, grad)
        array = self.grad_w_and_b if kind is DensePass else None
        array = self.gradients["scale"] if kind is NormPass else array
        array = self.grad_w if kind is EmbeddingPass else array
        array *= 1.001
        return result

    monkeypatch.setattr(kind, method, wrong)
    found = certify(training)
    assert found["verdict"] == "differs"
    assert {one["layer"]: one["verdict"] for one in found["layers"]}[layer] == "differs"


@pytest.mark.parametrize("kind", [Tanh, SoftmaxCrossEntropy])
def test_a_fault_in_a_derivative_is_found_in_the_layers_before_it(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An activation or a loss whose derivative is a hundredth too long makes the layers before it differ."""
    training = trained()
    right = kind.grad_z

    def wrong(self: Any, grad: Any, *rest: Any) -> None:
        right(self, grad, *rest)
        (rest[1] if kind is SoftmaxCrossEntropy else grad)[0] *= 1.01

    monkeypatch.setattr(kind, "grad_z", wrong)
    verdicts = [layer["verdict"] for layer in certify(training)["layers"]]
    assert verdicts == (["differs", "agrees"] if kind is Tanh else ["differs", "differs"])


@pytest.mark.parametrize("layer", [dense(4, "relu"), {"type": "residual", "layers": [dense(4, "relu")]}])
def test_weights_on_a_kink_are_not_called_a_fault(layer: dict[str, Any]) -> None:
    """Where every z of a relu is exactly 0, in a block too, the verdict is kink."""
    training = trained(network={"layers": [layer]})
    training.final.views[0].flat[...] = 0
    verdicts = [layer["verdict"] for layer in certify(training)["layers"]]
    assert verdicts == ["kink", "agrees"]


@pytest.mark.parametrize("share", [2, 1 - 1e-10])
def test_a_loss_out_of_reach_is_no_fault_and_no_number(share: float) -> None:
    """The sum of the squared errors overflows float64, or would a ten-millionth further on.

    An infinite figure is not JSON, and PostgreSQL would refuse the job's end.
    """
    changes: dict[str, Any] = {"dataset": {"source": "builtin", "name": "diabetes"}, "target": "target"}
    training = trained(**changes, training={"precision": "float64"}, network={"layers": []})
    rows = np.linspace(0, training.train.rows - 1, 8).astype(int)
    squares = ((training.train.x[rows].sum(axis=1) + 1) ** 2).sum()
    training.final.flat[...] = share * np.sqrt(np.finfo(np.float64).max / squares)
    found = certify(training)
    assert (found["verdict"], found["loss"]) == ("skipped", None)
    assert "overflows float64" in found["reason"]


def test_large_weights_are_moved_by_large_steps() -> None:
    """Weights of 1e12 agree, where a step of 1e-4 would be lost in their last digits."""
    changes: dict[str, Any] = {"dataset": {"source": "builtin", "name": "diabetes"}, "target": "target"}
    training = trained(**changes, training={"precision": "float64"}, network={"layers": []})
    training.final.flat[...] = 1e12
    assert certify(training)["verdict"] == "agrees"


def test_it_leaves_the_training_as_it_was() -> None:
    """Every bit of the state stays: weights, running figures, slots and generators."""
    training = trained(**MIXED)
    before = training.state()
    certify(training)
    after = training.state()
    assert before.values == after.values
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(after.arrays[name], array)


def test_its_cost_is_bounded_by_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer takes at most LOOKS looks; a network past the bound is skipped with a reason before any look."""
    training = trained()
    looks: list[int] = []
    look = certificate._GradientCheck._measure

    def counted(self: Any) -> Any:
        looks.append(1)
        return look(self)

    monkeypatch.setattr(certificate._GradientCheck, "_measure", counted)
    certify(training)
    assert 0 < len(looks) <= certificate.MEASUREMENTS * 2
    looks.clear()
    monkeypatch.setattr(certificate, "PRODUCTS", 5 * certificate.MEASUREMENTS * 2 * training.final.flat.size)
    assert certify(training)["rows"] == 5
    looks.clear()
    monkeypatch.setattr(certificate, "PRODUCTS", 1000)
    skipped = certify(training)
    assert (skipped["verdict"], skipped["layers"], looks) == ("skipped", [], [])
    assert "the limit is 1e+03" in skipped["reason"]


def test_a_job_that_succeeds_has_its_certificate(
    database: Database, runner: Runner, submit: Callable[..., Snapshot]
) -> None:
    """The record of a finished job has a certificate with one verdict for each layer."""
    job_id = submit()["id"]
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        found = get_job(session, DEFAULT_PROJECT, job_id).certificate
    assert found is not None
    assert (found["verdict"], len(found["layers"])) == ("agrees", 2)


def test_a_certificate_does_not_cost_a_job_its_end(
    database: Database, runner: Runner, submit: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job succeeds even if its certificate runs out of memory."""

    def broken(_: object) -> None:
        raise MemoryError("secret")

    monkeypatch.setattr("worker.running.run.certify", broken)
    job_id = submit()["id"]
    assert runner.run_job(job_id) == "succeeded"
    with database.reading() as session:
        found = get_job(session, DEFAULT_PROJECT, job_id).certificate
    assert found is not None
    assert (found["verdict"], "secret" in str(found["reason"])) == ("skipped", False)
