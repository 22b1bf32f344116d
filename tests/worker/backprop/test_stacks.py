"""Stacks: networks of one shape, trained at once, each as it would be alone."""

import itertools
from typing import Any

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import MeanSquaredError
from worker.backprop.losses.objective import Objective
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam
from worker.backprop.plan import Epoch, Patience, Plan
from worker.backprop.schedules import Cosine
from worker.errors import DivergedError

SEEDS = (3, 8, 21)


def layers() -> list[Layer]:
    return [
        Embedding(3, 0, 4, 2),
        dense(4, 6),
        BatchNorm(6, ACTIVATIONS["silu"]),
        Residual([dense(6, 5, "relu"), LayerNorm(5, ACTIVATIONS["tanh"]), dense(5, 6)]),
    ]


def table(kind: str) -> tuple[Any, Any]:
    generator = np.random.default_rng(4)
    x = generator.normal(size=(70, 3))
    x[:, 0] = generator.integers(0, 4, 70)
    noisy = x[:, 1] + 0.3 * generator.normal(size=70)
    return x, noisy[:, None] if kind == "numbers" else (noisy > 0).astype(np.int64)


OBJECTIVES: dict[str, tuple[Objective, int]] = {
    "classes": (SoftmaxCrossEntropy(), 2),
    "binary": (BinaryCrossEntropy(), 1),
    "numbers": (MeanSquaredError(ACTIVATIONS["identity"]), 1),
}


def training_of(kind: str, **plan: Any) -> Training:
    x, y = table(kind)
    objective, outputs = OBJECTIVES[kind]
    return Training(
        Network([*layers(), dense(6, outputs)]),
        objective,
        Adam,
        Cosine(8, warmup=1),
        Plan(
            **{"epochs": 8, "batch_size": 16, "learning_rate": 0.01, "l1": 1e-3, "decay": 0.1, "clip_norm": 0.7} | plan
        ),
        train=Part.of(x, y, slice(50), weights=np.linspace(0.5, 2, 70)),
        validation=Part.of(x, y, slice(50, None)),
        metrics={"r2": r2} if kind == "numbers" else {"accuracy": accuracy},
    )


def run(training: Training) -> list[Epoch]:
    return list(training.run(lambda: False))


@pytest.mark.parametrize("kind", sorted(OBJECTIVES))
def test_each_member_is_the_run_of_its_seed_and_rate(kind: str) -> None:
    """In float64, with every kind of layer, weighted rows, penalties, clipping, a schedule and its own rate."""
    rates = np.array([0.003, 0.01, 0.03])
    stack = training_of(kind, seeds=SEEDS, learning_rate=rates)
    curve = run(stack)
    singles = [training_of(kind, seed=seed, learning_rate=rate) for seed, rate in zip(SEEDS, rates, strict=True)]
    curves = [run(single) for single in singles]
    for n, single in enumerate(singles):
        # a bias before batch_norm has no gradient but round-off, of which Adam makes steps
        np.testing.assert_allclose(stack.final.flat[n], single.final.flat, rtol=1e-7, atol=1e-7)
    for epoch, *alone in zip(curve, *curves, strict=True):
        assert epoch.train_loss == pytest.approx(np.mean([one.train_loss for one in alone]), rel=1e-6)
        assert epoch.validation_loss == pytest.approx(np.mean([one.validation_loss for one in alone]), rel=1e-6)
        assert epoch.members == pytest.approx([one.validation_loss for one in alone], rel=1e-6)
        for name, value in epoch.metrics.items():
            assert value == pytest.approx(np.mean([one.metrics[name] for one in alone]), rel=1e-6)
        assert epoch.layers is not None
        for layer, *of_members in zip(epoch.layers, *(one.layers for one in alone), strict=True):
            assert layer.update_norm == pytest.approx(np.mean([one.update_norm for one in of_members]), rel=1e-6)


def test_patience_is_each_members_own() -> None:
    """A member that has stopped improving keeps its best weights, while the others go on."""
    options = {"learning_rate": 0.05, "epochs": 60, "patience": Patience(3), "batch_size": 25}
    stack = training_of("classes", seeds=SEEDS, **options)
    length = len(run(stack))
    lengths = []
    for n, seed in enumerate(SEEDS):
        single = training_of("classes", seed=seed, **options)
        lengths.append(len(run(single)))
        assert int(stack.best.epoch[n]) == single.final_epoch
        np.testing.assert_allclose(stack.final.flat[n], single.final.flat, rtol=1e-6, atol=1e-8)
    assert length == max(lengths)
    assert min(lengths) < max(lengths)


def test_a_member_that_is_done_stays_as_it_was() -> None:
    """If the best is not restored, weights and running figures are those of the last epoch of its own run."""
    options = {"learning_rate": 0.05, "epochs": 40, "patience": Patience(2, restore_best=False), "batch_size": 25}
    stack = training_of("classes", seeds=SEEDS, **options)
    run(stack)
    lengths = set()
    for n, seed in enumerate(SEEDS):
        single = training_of("classes", seed=seed, **options)
        lengths.add(len(run(single)))
        np.testing.assert_allclose(stack.final.flat[n], single.final.flat, rtol=1e-6, atol=1e-7)
    assert len(lengths) > 1


def test_the_figures_of_a_stack_with_members_that_are_done_do_not_depend_on_where_it_was_stopped() -> None:
    """A finished member's running figures still move and are then restored, which counts as no update."""
    options = {"learning_rate": 0.05, "epochs": 30, "patience": Patience(2), "batch_size": 25, "figures_every": 1}
    whole = [epoch.layers for epoch in run(training_of("classes", seeds=SEEDS, **options))]
    stopped = training_of("classes", seeds=SEEDS, **options)
    layers, stop = [], itertools.cycle([True, False])
    while not stopped.finished:
        layers += [epoch.layers for epoch in stopped.run(lambda: next(stop))]
    assert stopped.best.stopped.any()
    assert layers == whole


def test_the_member_that_diverges_is_named() -> None:
    """One member's huge rate overflows, and the error names that member and the epoch."""
    stack = training_of("numbers", seeds=SEEDS, learning_rate=np.array([0.01, 1e30, 0.01]), clip_norm=None)
    with pytest.raises(DivergedError, match=r"of member 1 is not finite at epoch 1"):
        run(stack)


def test_a_stack_predicts_with_all_its_members() -> None:
    """The outputs have the members first, each as that member alone predicts."""
    stack = training_of("classes", seeds=SEEDS)
    run(stack)
    x, _ = table("classes")
    outputs = stack.network.forward(stack.final, x)
    assert outputs.shape == (3, 70, 2)
    for n in range(3):
        alone = stack.network.forward(stack.final.member(n), x)
        np.testing.assert_allclose(outputs[n], alone, rtol=1e-9)
