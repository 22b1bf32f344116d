"""Optimizers, decay, clipping and schedules against Optax: 100 steps from the same start, to round-off."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib
import pytest

from worker.backprop import optimizer_base as base
from worker.backprop import optimizers, schedules
from worker.backprop.arrays import Floats
from worker.backprop.optimizer_base import Optimizer
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan
from worker.backprop.updates import MakeOptimizer, Updates

jax.config.update("jax_enable_x64", True)

STEPS = 100
RATE = 0.03
SHAPES = [{"w": (3, 5), "b": (5,)}, {"w": (5, 2), "b": (2,)}]

Make = Callable[[Floats, Floats], Optimizer]

PAIRS: dict[str, tuple[Make, Any]] = {
    "sgd": (optimizers.Sgd, optax.sgd(RATE)),
    "momentum": (lambda w, g: optimizers.Momentum(w, g, momentum=0.8), optax.sgd(RATE, momentum=0.8)),
    "nesterov": (
        lambda w, g: optimizers.Momentum(w, g, momentum=0.8, nesterov=True),
        optax.sgd(RATE, momentum=0.8, nesterov=True),
    ),
    "adagrad": (
        lambda w, g: optimizers.Adagrad(w, g, epsilon=1e-15),
        # Optax adds epsilon within the root; so small, both vanish
        optax.adagrad(RATE, initial_accumulator_value=0.0, eps=1e-30),
    ),
    "rmsprop": (
        lambda w, g: optimizers.RmsProp(w, g, decay=0.85, epsilon=1e-3),
        optax.rmsprop(RATE, decay=0.85, eps=1e-3, eps_in_sqrt=False),
    ),
    "adam": (
        lambda w, g: optimizers.Adam(w, g, beta1=0.85, beta2=0.97, epsilon=1e-3),
        optax.adam(RATE, b1=0.85, b2=0.97, eps=1e-3),
    ),
    "nadam": (
        lambda w, g: optimizers.Nadam(w, g, beta1=0.85, beta2=0.97, epsilon=1e-3),
        optax.nadam(RATE, b1=0.85, b2=0.97, eps=1e-3),
    ),
    "lion": (
        lambda w, g: optimizers.Lion(w, g, beta1=0.85, beta2=0.97),
        optax.lion(RATE, b1=0.85, b2=0.97, weight_decay=0.0),
    ),
}


def test_every_optimizer_has_its_peer() -> None:
    """An optimizer that is added is compared here too; adamw is Adam with the plan's decay, which has a test below."""
    assert set(optimizers.OPTIMIZERS) - {"adamw"} <= set(PAIRS)


def pull(w: Floats) -> Floats:
    """Return the gradient of a valley that is steep one way, flat the other, and not quadratic."""
    return np.linspace(0.1, 3, w.size) * np.sin(w) + 0.3 * np.cos(3 * w)


def start(size: int = 40) -> Floats:
    return np.random.default_rng(3).normal(size=size)


def by_optax(peer: Any, w: Floats) -> Floats:
    state = peer.init(w)
    for _ in range(STEPS):
        moves, state = peer.update(pull(np.asarray(w)), state, w)
        w = np.asarray(optax.apply_updates(w, moves))
    return w


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_hundred_steps_are_optaxs(name: str) -> None:
    """A hundred steps in a steep valley end where Optax's end."""
    make, peer = PAIRS[name]
    w, gradient = start(), np.zeros(40)
    optimizer = make(w, gradient)
    for _ in range(STEPS):
        gradient[...] = pull(w)
        optimizer.step(RATE)
    np.testing.assert_allclose(w, by_optax(peer, start()), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that is longer than a block ends at the same bits as in one block."""

    def run() -> Floats:
        w, gradient = start(1000), np.zeros(1000)
        optimizer = PAIRS[name][0](w, gradient)
        for _ in range(5):
            gradient[...] = pull(w)
            optimizer.step(RATE)
        return w

    whole = run()
    monkeypatch.setattr(base, "BLOCK_BYTES", 8 * 130)
    np.testing.assert_array_equal(run(), whole)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_a_stack_is_its_members(name: str) -> None:
    """With a rate and numbers of its own, each member moves as it would alone."""
    rates = np.array([[0.01], [0.05], [0.2]])
    w = np.stack([start(), start() + 1, start() - 1])
    alone = w.copy()
    gradient = np.zeros_like(w)
    stack = PAIRS[name][0](w, gradient)
    for _ in range(20):
        gradient[...] = [pull(row) for row in w]
        stack.step(rates)
    for n, row in enumerate(alone):
        own = np.zeros(40)
        single = PAIRS[name][0](row, own)
        for _ in range(20):
            own[...] = pull(row)
            single.step(rates[n, 0])
    np.testing.assert_allclose(w, alone, rtol=1e-12)


def test_the_members_of_a_stack_may_differ_in_adams_own_numbers() -> None:
    """With its own beta1 and epsilon, each member moves as it would alone."""
    betas = np.array([0.5, 0.9])
    w, gradient = np.stack([start(), start()]), np.zeros((2, 40))
    stack = optimizers.Adam(w, gradient, beta1=betas, epsilon=np.array([1e-3, 1e-8]))
    for _ in range(20):
        gradient[...] = [pull(row) for row in w]
        stack.step(RATE)
    for n, beta in enumerate(betas):
        row, own = start(), np.zeros(40)
        single = optimizers.Adam(row, own, beta1=float(beta), epsilon=[1e-3, 1e-8][n])
        for _ in range(20):
            own[...] = pull(row)
            single.step(RATE)
        np.testing.assert_allclose(w[n], row, rtol=1e-12)


def ours(plan: Plan, make: MakeOptimizer, gradient_of: Callable[[Floats], Floats]) -> Parameters:
    parameters = Parameters(SHAPES, np.float64)
    parameters.flat[...] = start(parameters.flat.size)
    gradients = parameters.like()
    updates = Updates(plan, make, parameters, gradients, [("w",), ("w",)])
    for _ in range(STEPS):
        gradients.flat[...] = gradient_of(parameters.flat)
        updates.apply(1, RATE)
    return parameters


def weights_mask() -> Any:
    """Return which numbers of the flat array are weights."""
    mask = Parameters(SHAPES, np.float64)
    for views in mask.views:
        views["w"][...] = 1
    return mask.flat.astype(bool)


@pytest.mark.parametrize(
    ("make", "peer"),
    [
        (
            lambda w, g: optimizers.Adam(w, g, epsilon=1e-4),
            lambda mask: optax.adamw(RATE, eps=1e-4, weight_decay=0.3, mask=mask),
        ),
        (optimizers.Lion, lambda mask: optax.lion(RATE, b1=0.9, b2=0.99, weight_decay=0.3, mask=mask)),
    ],
)
def test_decoupled_decay_is_optaxs(make: Make, peer: Callable[[Any], Any]) -> None:
    """Weights decay as Optax's do, and biases do not decay."""
    parameters = ours(Plan(1, 1, RATE, decay=0.3), make, pull)
    is_weight = weights_mask()
    tree = {"w": start(parameters.flat.size)[is_weight], "b": start(parameters.flat.size)[~is_weight]}
    optimizer = peer({"w": True, "b": False})
    state = optimizer.init(tree)
    flat = start(parameters.flat.size)
    for _ in range(STEPS):
        gradient = pull(flat)
        moves, state = optimizer.update({"w": gradient[is_weight], "b": gradient[~is_weight]}, state, tree)
        tree = {name: np.asarray(array) for name, array in optax.apply_updates(tree, moves).items()}
        flat[is_weight], flat[~is_weight] = tree["w"], tree["b"]
    np.testing.assert_allclose(parameters.flat, flat, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("plan", "clip"),
    [
        (Plan(1, 1, RATE, clip_norm=0.5), optax.clip_by_global_norm(0.5)),
        (Plan(1, 1, RATE, clip_value=0.2), optax.clip(0.2)),
    ],
)
def test_clipping_is_optaxs(plan: Plan, clip: Any) -> None:
    """Clipping by norm and by value takes the steps that Optax takes."""
    found = ours(plan, optimizers.Sgd, pull).flat
    np.testing.assert_allclose(found, by_optax(optax.chain(clip, optax.sgd(RATE)), start(found.size)), rtol=1e-11)


EPOCHS, STEPS_OF_EPOCH = 10, 13
TOTAL = EPOCHS * STEPS_OF_EPOCH

SCHEDULES: dict[str, tuple[schedules.Schedule, Callable[[int], Any]]] = {
    "constant": (schedules.Schedule(), optax.constant_schedule(1.0)),
    "step": (
        schedules.StepDecay(3, 0.5),
        optax.exponential_decay(1.0, 3 * STEPS_OF_EPOCH, 0.5, staircase=True),
    ),
    "exponential": (
        schedules.ExponentialDecay(0.9),
        optax.exponential_decay(1.0, STEPS_OF_EPOCH, 0.9, staircase=True),
    ),
    "cosine": (schedules.Cosine(EPOCHS, end=0.1), optax.cosine_decay_schedule(1.0, TOTAL, alpha=0.1)),
    "cosine with warm-up": (
        schedules.Cosine(EPOCHS, warmup=2, start=0.05, end=0.01),
        optax.warmup_cosine_decay_schedule(0.05, 1.0, 2 * STEPS_OF_EPOCH, TOTAL, 0.01),
    ),
    "one_cycle": (
        schedules.OneCycle(EPOCHS, rise=0.3, divide=20, final_divide=1e3),
        optax.cosine_onecycle_schedule(TOTAL, 1.0, 0.3, 20, 1e3),
    ),
}


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_schedule_is_optaxs(name: str) -> None:
    """The factor is Optax's at every step of ten epochs."""
    schedule, peer = SCHEDULES[name]
    factors = [factor for epoch in range(EPOCHS) for factor in schedule.factors(epoch, STEPS_OF_EPOCH)]
    np.testing.assert_allclose(factors, [float(peer(step)) for step in range(TOTAL)], rtol=1e-9, atol=1e-12)


def test_plateau_is_optaxs() -> None:
    """The factors are Optax's, whose patience counts one epoch more."""
    values = np.abs(np.random.default_rng(1).normal(size=60)) + np.linspace(2, 0.5, 60)
    plateau = schedules.Plateau(0.5, 2, threshold=0.01, floor=0.05)
    peer = optax.contrib.reduce_on_plateau(factor=0.5, patience=3, rtol=0.01, min_scale=0.05)
    state = peer.init(np.zeros(1))
    found, expected = [], []
    for value in values:
        plateau.observe(np.asarray(value))
        _, state = peer.update(np.zeros(1), state, value=value)
        found += plateau.factors(0, 1)
        expected.append(float(state.scale))
    assert len(set(found)) > 3
    assert found == expected


def test_a_plateau_goes_on_from_its_state_and_sees_each_member_of_a_stack() -> None:
    """Restored half-way, it goes on as if never stopped; only the member that stalls slows down."""
    whole, first = schedules.Plateau(0.5, 1), schedules.Plateau(0.5, 1)
    values = [np.array([3.0, 3.0]), np.array([2.0, 3.0]), np.array([1.0, 3.0]), np.array([0.5, 3.0])]
    for value in values:
        whole.observe(value)
    for value in values[:2]:
        first.observe(value)
    second = schedules.Plateau(0.5, 1)
    second.restore(first.state())
    for value in values[2:]:
        second.observe(value)
    np.testing.assert_array_equal(second.current, [1.0, 0.5])
    np.testing.assert_array_equal(second.current, whole.current)
