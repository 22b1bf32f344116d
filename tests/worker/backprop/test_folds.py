"""Cross-validation: each member is the run on the rows without its fold, validated on that fold."""

from typing import Any

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense
from tests.worker.backprop.test_stacks import OBJECTIVES, layers, run, table
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.folds import Folds, held_out_z
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam
from worker.backprop.plan import Patience, Plan
from worker.backprop.schedules import Cosine

SEEDS = (3, 4, 5)
# 70 rows in folds of 24, 23 and 23
OF_ROW = np.random.default_rng(0).permutation(70) % 3


def training_of(
    kind: str, rows: Any = slice(None), held: Any = None, *, seeds: bool = True, seed: int = 0, spread: float = 0
) -> Training:
    x, y = table(kind)
    # one row in seven counts far more than others
    weights = np.where(np.arange(70) % 7 == 0, 1 + spread, 1) if spread else None
    objective, outputs = OBJECTIVES[kind]
    plan = Plan(
        epochs=8,
        batch_size=16,
        learning_rate=0.01,
        decay=0.1,
        seed=seed,
        seeds=SEEDS if seeds else None,
        patience=Patience(3),
    )
    return Training(
        Network([*layers(), dense(6, outputs)]),
        objective,
        Adam,
        Cosine(8, warmup=1),
        plan,
        train=Part.of(x, y, rows, weights=weights),
        validation=None if held is None else Part.of(x, y, held, weights=weights),
        folds=Folds.of(OF_ROW) if seeds else None,
        metrics={"r2": r2} if kind == "numbers" else {"accuracy": accuracy},
    )


def test_members_have_as_many_rows_and_none_of_their_fold() -> None:
    folds = Folds.of(OF_ROW)
    assert folds.own.shape == (3, 46)
    for n, own in enumerate(folds.own):
        assert len(set(own)) == 46
        assert not (OF_ROW[own] == n).any()


@pytest.mark.parametrize("spread", [0, 1000])
@pytest.mark.parametrize("kind", sorted(OBJECTIVES))
def test_each_member_is_the_run_without_its_fold(kind: str, spread: float) -> None:
    """Weights, losses and metrics of each epoch, and when it stops; validated on the whole of its fold."""
    stack = training_of(kind, spread=spread)
    curve = run(stack)
    own = stack.folds.own  # type: ignore[union-attr]
    singles = [
        training_of(kind, own[n], np.flatnonzero(n == OF_ROW), seeds=False, seed=seed, spread=spread)
        for n, seed in enumerate(SEEDS)
    ]
    curves = [run(single) for single in singles]
    for n, single in enumerate(singles):
        np.testing.assert_allclose(stack.final.flat[n], single.final.flat, rtol=1e-7, atol=1e-7)
        assert stack.best.epoch[n] == single.best.epoch
    for epoch, *alone in zip(curve, *curves, strict=False):
        assert epoch.train_loss == pytest.approx(np.mean([one.train_loss for one in alone]), rel=1e-6)
        assert epoch.validation_loss == pytest.approx(np.mean([one.validation_loss for one in alone]), rel=1e-6)
        assert epoch.members == pytest.approx([one.validation_loss for one in alone], rel=1e-6)


def test_what_is_held_out_comes_from_the_member_that_did_not_see_it() -> None:
    """For each row, however many there are."""
    stack = training_of("classes")
    run(stack)
    big = Part(np.tile(stack.train.x_and_ones, (20, 1)), np.tile(stack.train.y, 20))
    of_row = np.tile(OF_ROW, 20)
    z = held_out_z(stack.network, stack.final, big, of_row)
    every = stack.network.last_z(stack.final, big.x)
    np.testing.assert_array_equal(z, np.stack([every[n, :, row] for row, n in enumerate(of_row)], axis=1))


def test_a_stopped_run_goes_on_to_the_same_bits() -> None:
    whole, first = training_of("classes"), training_of("classes")
    curve = run(whole)
    steps = iter(range(100))
    begun = list(first.run(lambda: next(steps) >= 7))
    second = training_of("classes")
    second.restore(first.state())
    rest = run(second)
    assert [*begun, *rest][-1].validation_loss == curve[-1].validation_loss
    assert second.final.flat.tobytes() == whole.final.flat.tobytes()
