"""One step worked by hand: the seed's equation, number by number."""

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense, gradient_of, network_of
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.losses.numbers import MeanSquaredError
from worker.backprop.optimizers import Adam, Momentum, Sgd


def test_one_sgd_step_of_two_sigmoid_units_is_that_worked_by_hand() -> None:
    """x = 1 -> w = 0.5, b = 0 -> sigmoid -> v = -1, c = 0.5 -> sigmoid, target 1, squared error, rate 0.1.

    z1 = 0.5, a1 = 0.62245933; z2 = -0.62245933 + 0.5 = -0.12245933, a2 = 0.46942337; L = 0.28151156.
    dL/da2 = 2 (a2 - 1) = -1.06115326; da2/dz2 = a2 (1 - a2) = 0.24906507; dL/dz2 = -0.26429621.
    dL/dv = dL/dz2 a1 = -0.16451364; dL/da1 = dL/dz2 v = 0.26429621; da1/dz1 = a1 (1 - a1) = 0.23500371;
    dL/dw = 0.26429621 x 0.23500371 x 1 = 0.06211059.
    """
    network, parameters = network_of(dense(1, 1, "sigmoid"), dense(1, 1))
    parameters.flat[...] = [0.5, 0.0, -1.0, 0.5]
    objective = MeanSquaredError(ACTIVATIONS["sigmoid"])
    gradients, loss = gradient_of(network, parameters, objective, np.array([[1.0]]), np.array([[1.0]]))
    assert loss == pytest.approx(0.28151156, abs=1e-8)
    np.testing.assert_allclose(gradients.flat, [0.06211059, 0.06211059, -0.16451364, -0.26429621], atol=1e-8)
    Sgd(parameters.flat, gradients.flat).step(0.1)
    np.testing.assert_allclose(parameters.flat, [0.49378894, -0.00621106, -0.98354864, 0.52642962], atol=1e-8)


def test_momentum_adds_a_share_of_the_step_before() -> None:
    """Two steps of gradient 1 at rate 0.1 and momentum 0.5 move by 0.1, then by 0.1 + 0.05."""
    w = np.array([1.0])
    momentum = Momentum(w, np.array([1.0]), momentum=0.5)
    momentum.step(0.1)
    assert w[0] == pytest.approx(0.9)
    momentum.step(0.1)
    assert w[0] == pytest.approx(0.75)


def test_adam_follows_its_paper(generator: np.random.Generator) -> None:
    """Twenty steps equal algorithm 1 of Kingma and Ba as the paper writes it."""
    w = generator.normal(size=5)
    plain, m, v = w.copy(), np.zeros(5), np.zeros(5)
    gradient = np.empty(5)
    adam = Adam(w, gradient, beta1=0.8, beta2=0.95, epsilon=1e-3)
    for t in range(1, 21):
        gradient[...] = generator.normal(size=5)
        adam.step(0.01)
        m = 0.8 * m + 0.2 * gradient
        v = 0.95 * v + 0.05 * gradient**2
        plain -= 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-3)
    np.testing.assert_allclose(w, plain, rtol=1e-12)
