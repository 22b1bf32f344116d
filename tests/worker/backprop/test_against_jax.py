"""The same networks in JAX, differentiated by its autodiff: an independent gradient, in float64."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.worker.backprop.conftest import dense, gradient_of, network_of
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.normalization import BatchNorm, LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import Huber, LogCosh, MeanSquaredError, Poisson, Quantile
from worker.backprop.losses.objective import Objective
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam
from worker.backprop.orders import Orders
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan
from worker.backprop.schedules import Schedule

jax.config.update("jax_enable_x64", True)

Weights = list[dict[str, Any]]

JAX_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": lambda z: jax.nn.gelu(z, approximate=True),
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "exponential": jnp.exp,
    "softmax": jax.nn.softmax,
}


def assert_same(
    network: Network,
    parameters: Parameters,
    objective: Objective,
    x: Any,
    y: Any,
    peer: Callable[[Weights, Any], Any],
    peer_loss: Callable[[Any, Any], Any],
) -> None:
    """Compare the loss and every gradient.

    peer: from weights and x to the last z. peer_loss: from that z, (rows, outputs), and y to the loss.
    """
    weights = [{name: jnp.asarray(view) for name, view in views.items()} for views in parameters.views]
    gradients, loss = gradient_of(network, parameters, objective, x, y)
    expected_loss, expected = jax.value_and_grad(lambda w: peer_loss(peer(w, jnp.asarray(x)), y))(weights)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-12)
    for own, others in zip(gradients.views, expected, strict=True):
        for name, gradient in own.items():
            np.testing.assert_allclose(gradient, others[name], rtol=1e-9, atol=1e-14, err_msg=name)


def mean_squared(a: Any, y: Any) -> Any:
    return ((a - y) ** 2).mean()


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activation_and_its_derivative_are_jaxs(name: str, generator: np.random.Generator) -> None:
    """Each activation, within a network, gives the loss and the gradients of JAX's own."""
    # two exponentials in a row overflow
    second = "tanh" if name == "exponential" else name
    network, parameters = network_of(dense(3, 5, name), dense(5, 4, second), dense(4, 2))
    f, g = JAX_ACTIVATIONS[name], JAX_ACTIVATIONS[second]

    def peer(w: Weights, x: Any) -> Any:
        a = f(x @ w[0]["w"] + w[0]["b"])
        return g(a @ w[1]["w"] + w[1]["b"]) @ w[2]["w"] + w[2]["b"]

    x, y = generator.normal(size=(7, 3)), generator.normal(size=(7, 2))
    assert_same(network, parameters, MeanSquaredError(ACTIVATIONS["identity"]), x, y, peer, mean_squared)


IDENTITY = ACTIVATIONS["identity"]
LOSSES: dict[str, tuple[Objective, Callable[[Any, Any], Any]]] = {
    "cross_entropy": (
        SoftmaxCrossEntropy(),
        lambda z, y: optax.softmax_cross_entropy_with_integer_labels(z, y).mean(),
    ),
    "smoothed": (
        SoftmaxCrossEntropy(0.1),
        lambda z, y: optax.softmax_cross_entropy(z, optax.smooth_labels(jax.nn.one_hot(y, 3), 0.1)).mean(),
    ),
    "binary": (BinaryCrossEntropy(), lambda z, y: optax.sigmoid_binary_cross_entropy(z, y).mean()),
    "huber": (Huber(IDENTITY, 0.6), lambda z, y: optax.huber_loss(z, y, delta=0.6).mean()),
    "log_cosh": (LogCosh(IDENTITY), lambda z, y: optax.log_cosh(z, y).mean()),
    "poisson": (Poisson(), lambda z, y: (jnp.exp(z) - y * z).mean()),
    "quantile": (
        Quantile(IDENTITY, 0.9),
        lambda z, y: jnp.where(y > z, 0.9 * (y - z), 0.1 * (z - y)).mean(),
    ),
    "squared error of a softmax": (
        MeanSquaredError(ACTIVATIONS["softmax"]),
        lambda z, y: ((jax.nn.softmax(z) - jax.nn.one_hot(y, 3)) ** 2).mean(),
    ),
}


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_loss_and_its_derivative_are_optaxs(name: str, generator: np.random.Generator) -> None:
    """Each loss and all gradients are those of Optax, differentiated by JAX."""
    objective, peer_loss = LOSSES[name]
    network, parameters = network_of(dense(4, 5, "tanh"), dense(5, 3))
    x = generator.normal(size=(9, 4))
    y: Any = generator.integers(0, 3, 9)
    if name == "binary":
        y = generator.integers(0, 2, (9, 3)).astype(float)
    elif name not in ("cross_entropy", "smoothed", "squared error of a softmax"):
        y = generator.normal(1, 1, size=(9, 3)) ** 2

    def peer(w: Weights, x: Any) -> Any:
        return jnp.tanh(x @ w[0]["w"] + w[0]["b"]) @ w[1]["w"] + w[1]["b"]

    assert_same(network, parameters, objective, x, y, peer, peer_loss)


def normal(x: Any, axis: int) -> Any:
    return (x - x.mean(axis, keepdims=True)) / jnp.sqrt(x.var(axis, keepdims=True) + 1e-5)


def test_normalisations_residual_and_embedding_are_those_written_out_in_jax(generator: np.random.Generator) -> None:
    """A network with all of them has the gradient that autodiff takes through the formulas of the papers."""
    network, parameters = network_of(
        Embedding(4, 2, 5, 3),
        dense(6, 5),
        BatchNorm(5, ACTIVATIONS["silu"]),
        Residual([dense(5, 4, "gelu"), LayerNorm(4, ACTIVATIONS["tanh"]), dense(4, 5)]),
        LayerNorm(5, IDENTITY),
        dense(5, 2),
    )
    x, y = generator.normal(size=(8, 4)), generator.normal(size=(8, 2))
    x[:, 2] = generator.integers(0, 5, 8)
    codes = x[:, 2].astype(int)

    def peer(w: Weights, x: Any) -> Any:
        a = jnp.concatenate([x[:, [0, 1, 3]], w[0]["w"][codes]], axis=1) @ w[1]["w"] + w[1]["b"]
        a = jax.nn.silu(normal(a, 0) * w[2]["scale"] + w[2]["shift"])
        block = jax.nn.gelu(a @ w[3]["layers.0.w"] + w[3]["layers.0.b"], approximate=True)
        block = jnp.tanh(normal(block, 1) * w[3]["layers.1.scale"] + w[3]["layers.1.shift"])
        a = a + block @ w[3]["layers.2.w"] + w[3]["layers.2.b"]
        a = normal(a, 1) * w[4]["scale"] + w[4]["shift"]
        return a @ w[5]["w"] + w[5]["b"]

    assert_same(network, parameters, MeanSquaredError(IDENTITY), x, y, peer, mean_squared)


def test_a_deep_network_is_jaxs(generator: np.random.Generator) -> None:
    """Twelve layers agree, through which a small error in one layer would grow."""
    network, parameters = network_of(*[dense(6, 6, "selu") for _ in range(11)], dense(6, 3))

    def peer(w: Weights, x: Any) -> Any:
        for layer in w[:-1]:
            x = jax.nn.selu(x @ layer["w"] + layer["b"])
        return x @ w[-1]["w"] + w[-1]["b"]

    x, y = generator.normal(size=(6, 6)), generator.integers(0, 3, 6)
    objective, peer_loss = LOSSES["cross_entropy"]
    assert_same(network, parameters, objective, x, y, peer, peer_loss)


def test_a_run_of_the_largest_shapes_is_jaxs(generator: np.random.Generator) -> None:
    """784-256-128-10 with Adam, 100 steps of 128 rows in float64: losses agree to round-off, from first to last."""
    rows, batch, epochs = 1280, 128, 10
    x, y = generator.normal(size=(rows, 784)), generator.integers(0, 10, rows)
    network = Network([dense(784, 256, "relu"), dense(256, 128, "relu"), dense(128, 10)])
    training = Training(
        network,
        SoftmaxCrossEntropy(),
        Adam,
        Schedule(),
        Plan(epochs, batch, 0.001, seed=4),
        train=Part.of(x, y),
        metrics={},
    )
    orders = Orders((4,), rows, stacked=False)
    weights: Any = [{name: jnp.asarray(view) for name, view in views.items()} for views in training.parameters.views]
    optimizer = optax.adam(0.001)
    state = optimizer.init(weights)

    def loss(w: Any, x: Any, y: Any) -> Any:
        for layer in w[:-1]:
            x = jax.nn.relu(x @ layer["w"] + layer["b"])
        z = x @ w[-1]["w"] + w[-1]["b"]
        return optax.softmax_cross_entropy_with_integer_labels(z, y).mean()

    @jax.jit
    def step(w: Any, state: Any, x: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(w, x, y)
        moves, state = optimizer.update(gradient, state)
        return optax.apply_updates(w, moves), state, value

    for epoch in training.run(lambda: False):
        order = orders.current()
        orders.end_epoch()
        values = []
        for first in range(0, rows, batch):
            chosen = order[first : first + batch]
            weights, state, value = step(weights, state, x[chosen], y[chosen])
            values.append(float(value))
        assert epoch.train_loss == pytest.approx(np.mean(values), rel=1e-11)
    for own, theirs in zip(training.parameters.views, weights, strict=True):
        np.testing.assert_allclose(own["w"], theirs["w"], atol=1e-11)
