"""Gradients against finite differences and an independent autodiff."""

import autograd
import autograd.numpy as anp
import numpy as np
import pytest

from tests.worker.backprop.conftest import dense, loss_and_gradient, network_of
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.arrays import Floats
from worker.backprop.losses import MeanSquaredError, Objective, SoftmaxCrossEntropy

STEP = 1e-5
OBJECTIVES: dict[str, Objective] = {
    "cross_entropy of softmax": SoftmaxCrossEntropy(),
    **{f"mean_squared_error of {name}": MeanSquaredError(activation) for name, activation in ACTIVATIONS.items()},
}


def targets_of(name: str, generator: np.random.Generator, rows: int, units: int) -> Floats:
    if name.startswith("cross_entropy"):
        return generator.integers(0, units, rows)
    return generator.normal(size=(rows, units))


@pytest.mark.parametrize("hidden", ACTIVATIONS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_gradient_agrees_with_a_finite_difference_in_every_layer(
    objective: str, hidden: str, generator: np.random.Generator
) -> None:
    """Along a random direction within each layer, the central difference of the loss is the gradient's projection."""
    network, parameters = network_of(dense(5, 4, hidden), dense(4, 4, hidden), dense(4, 3))
    x, y = generator.normal(size=(6, 5)), targets_of(objective, generator, 6, 3)
    loss, gradient = loss_and_gradient(network, parameters, OBJECTIVES[objective], x, y)
    for n in range(len(network.layers)):
        direction = parameters.like()
        for view in direction.views[n].values():
            view[...] = generator.normal(size=view.shape)
        step = STEP * direction.flat
        difference = (loss(parameters.flat + step) - loss(parameters.flat - step)) / (2 * STEP)
        assert difference == pytest.approx(gradient @ direction.flat, rel=1e-6, abs=1e-9)


def test_gradient_agrees_with_an_independent_autodiff(generator: np.random.Generator) -> None:
    """Every component of the gradient of a tanh and sigmoid network equals autograd's."""
    network, parameters = network_of(dense(4, 6, "tanh"), dense(6, 5, "sigmoid"), dense(5, 3))
    x, labels = generator.normal(size=(7, 4)), generator.integers(0, 3, 7)
    _, gradient = loss_and_gradient(network, parameters, SoftmaxCrossEntropy(), x, labels)

    def loss(flat: Floats) -> float:
        sizes = [4 * 6, 6, 6 * 5, 5, 5 * 3, 3]
        w1, b1, w2, b2, w3, b3 = (flat[end - size : end] for size, end in zip(sizes, np.cumsum(sizes), strict=True))
        a = anp.tanh(x @ w1.reshape(4, 6) + b1)
        a = 1 / (1 + anp.exp(-(a @ w2.reshape(6, 5) + b2)))
        z = a @ w3.reshape(5, 3) + b3
        chosen = z[np.arange(7), labels]
        return anp.mean(anp.log(anp.sum(anp.exp(z), axis=1)) - chosen)

    np.testing.assert_allclose(gradient, autograd.grad(loss)(parameters.flat), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_may_be_written_over_its_argument(name: str, generator: np.random.Generator) -> None:
    """f(z) into z's own array is f(z)."""
    z = generator.normal(size=(5, 4))
    expected = ACTIVATIONS[name].value(z.copy())
    np.testing.assert_array_equal(ACTIVATIONS[name].value(z, out=z), expected)


@pytest.mark.filterwarnings("error")
def test_large_sums_neither_overflow_nor_lose_the_loss() -> None:
    """Logits of +-1000 give a finite loss and gradient, and sigmoid its limits."""
    z = np.array([[1000.0, -1000.0], [-1000.0, 1000.0]])
    grad_z = np.empty_like(z)
    loss = SoftmaxCrossEntropy().value_and_grad_z(z, np.array([1, 1]), out=grad_z)
    assert loss == 1000.0
    np.testing.assert_array_equal(grad_z, [[0.5, -0.5], [0, 0]])
    np.testing.assert_array_equal(ACTIVATIONS["sigmoid"].value(z), [[1, 0], [0, 1]])
