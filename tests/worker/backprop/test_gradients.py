"""Every gradient against finite differences, in float64, away from kinks."""

from pkgutil import iter_modules
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.worker.backprop.conftest import assert_is_gradient, dense, gradient_of, network_of
from worker.backprop import layers
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import Floats, Targets
from worker.backprop.layers import dropout
from worker.backprop.layers import layer as layer_file
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import Huber, LogCosh, MeanAbsoluteError, MeanSquaredError, Poisson, Quantile
from worker.backprop.losses.objective import Objective
from worker.backprop.losses.table import LOSSES
from worker.backprop.network import Network
from worker.backprop.optimizers import Sgd
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan
from worker.backprop.updates import Updates

ROWS = 5
KINKS = {"relu": (0,), "leaky_relu": (0,), "elu": (), "selu": (0,), "hard_sigmoid": (-3, 3)}
IDENTITY = ACTIVATIONS["identity"]

OBJECTIVES: dict[str, Objective] = {
    "cross_entropy": SoftmaxCrossEntropy(),
    "smoothed cross_entropy": SoftmaxCrossEntropy(0.2),
    "binary_cross_entropy": BinaryCrossEntropy(),
    "smoothed binary_cross_entropy": BinaryCrossEntropy(0.1),
    "mean_squared_error": MeanSquaredError(IDENTITY),
    "mean_squared_error of tanh": MeanSquaredError(ACTIVATIONS["tanh"]),
    "mean_squared_error of softmax": MeanSquaredError(ACTIVATIONS["softmax"]),
    "mean_absolute_error": MeanAbsoluteError(IDENTITY),
    "huber": Huber(IDENTITY, 0.7),
    "log_cosh": LogCosh(IDENTITY),
    "quantile": Quantile(IDENTITY, 0.8),
    "poisson": Poisson(),
    "mean_squared_error of gelu": MeanSquaredError(ACTIVATIONS["gelu"]),
}


def jumps(values: Floats, at: Floats) -> list[float]:
    """Return the places between which a function on a fine grid jumps."""
    return at[1:][np.abs(np.diff(values)) > 0.05].tolist()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_kinks_are_where_the_derivative_jumps(name: str) -> None:
    """The a that an activation names as kinks are those at which da/dz jumps on a fine grid, and no others."""
    activation = ACTIVATIONS[name]
    z = np.arange(-4, 4, 1e-4)
    a, slope = activation.value(z[None].copy()), np.ones((1, len(z)))
    activation.grad_z(slope, z[None].copy(), a.copy())
    places = activation.value(np.array([jumps(slope[0], z)]))
    np.testing.assert_allclose(np.sort(places[0]), activation.kinks, atol=1e-3)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_units_are_coupled_where_one_moves_another(name: str, generator: np.random.Generator) -> None:
    """Moving one unit's z moves the a of other units only if the activation says so."""
    z = generator.normal(size=(3, 1))
    moved = z + np.array([[0.1], [0], [0]])
    others = [ACTIVATIONS[name].value(one.copy())[1:] for one in (z, moved)]
    assert np.array_equal(*others) != ACTIVATIONS[name].couples_units


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_kinks_of_a_loss_are_where_its_derivative_jumps(name: str) -> None:
    """The errors that a loss names as kinks are those at which dL/da jumps on a fine grid, and no others."""
    objective = OBJECTIVES[name]
    errors = np.arange(-2, 2, 1e-3) if objective.output is None else np.arange(0.1, 0.3, 1e-3)
    y = 0.0 if objective.output is None else 0.5
    slopes = np.array([objective.grad_a(np.array([[error + y]]), np.array([[y]]))[0, 0] for error in errors])
    np.testing.assert_allclose(jumps(slopes, errors), objective.error_kinks, atol=2e-3)


def test_every_loss_is_among_the_objectives() -> None:
    """A loss that is added is differentiated here too."""
    assert {type(objective) for objective in OBJECTIVES.values()} == set(LOSSES.values())


def targets_for(name: str, rows: int, outputs: int, generator: np.random.Generator) -> Targets:
    if name.endswith(" cross_entropy") or name == "cross_entropy":
        return generator.integers(0, outputs, rows)
    if "binary" in name:
        return generator.integers(0, 2, (rows, outputs)).astype(np.float64)
    return generator.integers(0, 4, (rows, outputs)) + generator.uniform(0.1, 0.4, (rows, outputs))


def assert_gradient(network: Network, parameters: Parameters, objective: Objective, x: Floats, y: Targets) -> None:
    weights = np.linspace(0.5, 1.5, len(x))
    start = parameters.flat.copy()
    gradients, _ = gradient_of(network, parameters, objective, x, y, weights)

    def loss(flat: Floats) -> Any:
        moved = parameters.like()
        moved.flat[...] = flat
        return gradient_of(network, moved, objective, x, y, weights)[1]

    assert_is_gradient(loss, start, gradients.flat)


def far_from_kinks(network: Network, parameters: Parameters, x: Floats) -> bool:
    """Return whether no z of a training pass is near a point where its activation has no derivative."""
    for layer in network.layers:
        for norm in [layer, *getattr(layer, "layers", [])]:
            if isinstance(norm, BatchNorm):
                return True
    names = {type(activation): name for name, activation in ACTIVATIONS.items()}
    for layer, activity in zip(network.layers, network.activities(parameters, x), strict=True):
        for kink in KINKS.get(names.get(type(getattr(layer, "activation", None)), ""), ()):
            if np.abs(activity.z - kink).min() < 2e-3:
                return False
    return True


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_gradient_through_each_activation(name: str, generator: np.random.Generator) -> None:
    """Central differences agree, with z of both signs and away from the kinks."""
    # two exponentials in a row overflow
    network, parameters = network_of(
        dense(3, 6, name), dense(6, 4, "tanh" if name == "exponential" else name), dense(4, 2)
    )
    x = generator.normal(size=(ROWS, 3))
    for seed in range(50):
        parameters.flat[...] = np.random.default_rng(seed).normal(0, 0.7, parameters.flat.shape)
        if far_from_kinks(network, parameters, x):
            break
    else:
        pytest.fail("no weights that are far from the kinks")
    z = network.activities(parameters, x)[0].z
    assert z.min() < 0 < z.max()
    assert_gradient(network, parameters, OBJECTIVES["mean_squared_error"], x, generator.normal(size=(ROWS, 2)))


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("outputs", [1, 3])
def test_gradient_of_each_loss(name: str, outputs: int, generator: np.random.Generator) -> None:
    """Central differences agree for one output and for several, with rows of different weight."""
    network, parameters = network_of(dense(3, 4, "tanh"), dense(4, outputs))
    x = generator.normal(size=(ROWS, 3))
    assert_gradient(network, parameters, OBJECTIVES[name], x, targets_for(name, ROWS, outputs, generator))


LAYERS: dict[str, list[Layer]] = {
    "batch_norm": [dense(3, 4), BatchNorm(4, ACTIVATIONS["tanh"]), dense(4, 2)],
    "batch_norm first": [BatchNorm(3, ACTIVATIONS["silu"]), dense(3, 2)],
    "layer_norm": [dense(3, 4), LayerNorm(4, ACTIVATIONS["gelu"]), dense(4, 2)],
    "residual": [
        dense(3, 4, "tanh"),
        Residual([dense(4, 6, "silu"), LayerNorm(6, IDENTITY), dense(6, 4)]),
        dense(4, 2),
    ],
    "residual first": [Residual([dense(3, 3, "tanh")]), dense(3, 2)],
    "residual with batch_norm": [Residual([dense(3, 3), BatchNorm(3, ACTIVATIONS["tanh"])]), dense(3, 2)],
    "embedding": [Embedding(3, 1, 4, 2), dense(4, 3, "tanh"), dense(3, 2)],
    "two embeddings": [Embedding(3, 1, 4, 2), Embedding(4, 0, 3, 3), dense(6, 2)],
}


def test_every_file_of_layers_is_differentiated() -> None:
    """A kind of layer that is added has its training pass compared with differences; dropout draws, and has none."""
    files = {f"{layers.__name__}.{module.name}" for module in iter_modules(layers.__path__)}
    tried = {type(layer).__module__ for network in LAYERS.values() for layer in network}
    assert files - {layer_file.__name__, dropout.__name__} == tried


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_gradient_through_each_layer(name: str, generator: np.random.Generator) -> None:
    """Central differences agree in training mode, where the statistics depend on the batch."""
    network, parameters = network_of(*LAYERS[name])
    x = generator.normal(size=(ROWS, 3))
    if "embedding" in name:
        x[:, 0] = generator.integers(0, 3, ROWS)
        x[:, 1] = generator.integers(0, 4, ROWS)
        for views in parameters.views[:-1]:
            if views["w"].shape[0] in (4, 5) and "b" not in views:
                views["w"][-1] = 0
    start = parameters.flat.copy()
    gradients, _ = gradient_of(network, parameters, OBJECTIVES["log_cosh"], x, x[:, :2])
    trained = gradients.flat != 0
    parameters.flat[...] = start

    def loss(flat: Floats) -> Any:
        # running statistics and points of absent categories have no gradient, and move nothing
        moved = parameters.like()
        moved.flat[...] = start
        moved.flat[trained] = flat
        return gradient_of(network, moved, OBJECTIVES["log_cosh"], x, x[:, :2])[1]

    assert trained.sum() > 10
    assert_is_gradient(loss, start[trained], gradients.flat[trained])


@pytest.mark.parametrize(("l1", "l2"), [(0.3, 0.0), (0.0, 0.2), (0.1, 0.4)])
def test_gradient_of_the_penalties(l1: float, l2: float) -> None:
    """l1 |w| + l2/2 |w|^2 is taken over the weights alone, without biases."""
    _, parameters = network_of(dense(3, 4), dense(4, 2))
    gradients = parameters.like()
    before = parameters.flat.copy()
    Updates(Plan(1, 1, 1.0, l1=l1, l2=l2), Sgd, parameters, gradients, [("w",), ("w",)]).apply(1, 1.0)
    gradient = before - parameters.flat

    def penalty(flat: Floats) -> Any:
        moved = parameters.like()
        moved.flat[...] = flat
        weights = np.concatenate([views["w"].ravel() for views in moved.views])
        return l1 * np.abs(weights).sum() + l2 / 2 * (weights**2).sum()

    assert_is_gradient(penalty, before, gradient)


SMOOTH = ["identity", "gelu", "silu", "softplus", "tanh", "sigmoid", "softmax"]


@st.composite
def networks(draw: st.DrawFn) -> list[Layer]:
    """Draw up to five hidden layers of any kind, then the output layer."""
    units = 3
    layers: list[Layer] = []
    smooth = False
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["dense", "batch_norm", "layer_norm", "residual"]))
        smooth = smooth or kind != "dense"
        # behind a normalisation every z moves with every weight, and kinks are not excluded by looking once
        name = draw(st.sampled_from(SMOOTH if smooth else sorted(set(ACTIVATIONS) - {"exponential"})))
        activation = ACTIVATIONS[name]
        if kind == "dense":
            wider = draw(st.integers(2, 6))
            layers.append(dense(units, wider, name))
            units = wider
        elif kind == "batch_norm":
            layers.append(BatchNorm(units, activation))
        elif kind == "layer_norm":
            layers.append(LayerNorm(units, activation))
        else:
            inner = draw(st.integers(2, 5))
            layers.append(Residual([dense(units, inner, name), LayerNorm(inner, IDENTITY), dense(inner, units)]))
    return [*layers, dense(units, 2)]


@settings(max_examples=150, deadline=None)
@given(networks(), st.sampled_from(sorted(set(OBJECTIVES) - {"poisson"})), st.integers(0, 10**6))
def test_gradient_of_random_compositions(layers: list[Layer], loss: str, seed: int) -> None:
    """Central differences agree for 150 networks that are put together at random."""
    network, parameters = network_of(*layers, seed=seed)
    for views in parameters.views:
        if "variance" in views:
            views["variance"][...] = 1
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(ROWS, 3))
    y = targets_for(loss, ROWS, 2, generator)
    assume(far_from_kinks(network, parameters, x))
    z = network.last_z(parameters, x)
    error = OBJECTIVES[loss].activation.value(z) - OBJECTIVES[loss].encode(y, 2, np.float64)
    kinks = {"mean_absolute_error": [0], "quantile": [0], "huber": [-0.7, 0.7]}.get(loss, [])
    assume(all(np.abs(error - kink).min() > 1e-2 for kink in kinks))
    has_batch_norm = any(isinstance(part, BatchNorm) for part in network.layers)
    if has_batch_norm and kinks:
        return
    assert_gradient(network, parameters, OBJECTIVES[loss], x, y)


def test_a_row_of_weight_0_moves_nothing(generator: np.random.Generator) -> None:
    """The gradient is that of the other rows, times their share of all rows."""
    network, parameters = network_of(dense(3, 4, "tanh"), dense(4, 2))
    x, y = generator.normal(size=(4, 3)), generator.normal(size=(4, 2))
    weighted, _ = gradient_of(network, parameters, OBJECTIVES["huber"], x, y, np.array([1.0, 1.0, 0.0, 0.0]))
    alone, _ = gradient_of(network, parameters, OBJECTIVES["huber"], x[:2], y[:2])
    np.testing.assert_allclose(weighted.flat, alone.flat / 2, rtol=1e-12)
