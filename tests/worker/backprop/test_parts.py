"""Initialisers, metrics, parameters and shapes."""

import numpy as np
import pytest

from tests.worker.backprop.conftest import dense, network_of, with_ones
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.normalization import BatchNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters
from worker.errors import ShapeError

VARIANCES = {
    "he_normal": 2 / 300,
    "he_uniform": 2 / 300,
    "glorot_normal": 2 / 500,
    "glorot_uniform": 2 / 500,
    "lecun_normal": 1 / 300,
    "lecun_uniform": 1 / 300,
    # orthonormal columns of 300
    "orthogonal": 1 / 300,
    "zeros": 0,
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initialiser_has_the_variance_of_its_paper(name: str, generator: np.random.Generator) -> None:
    """60000 draws have the mean 0 and the variance of the paper's formula."""
    w = INITIALIZERS[name](generator, 300, 200)
    assert w.shape == (300, 200)
    assert w.mean() == pytest.approx(0, abs=2e-3)
    assert w.var() == pytest.approx(VARIANCES[name], rel=0.03)


@pytest.mark.parametrize(("inputs", "units"), [(30, 20), (20, 30)])
def test_orthogonal_weights_turn_and_do_not_stretch(inputs: int, units: int, generator: np.random.Generator) -> None:
    """The columns, or the rows if these are fewer, are orthonormal."""
    w = INITIALIZERS["orthogonal"](generator, inputs, units)
    product = w.T @ w if inputs >= units else w @ w.T
    np.testing.assert_allclose(product, np.eye(min(inputs, units)), atol=1e-12)


def test_weights_carry_the_names_of_a_weights_file() -> None:
    """Names and shapes are those that a weights file has."""
    _, parameters = network_of(dense(3, 2), dense(2, 1))
    names = {name: array.shape for name, array in parameters.named().items()}
    assert names == {"layers.0.w": (3, 2), "layers.0.b": (2,), "layers.1.w": (2, 1), "layers.1.b": (1,)}


def test_wrong_shapes_are_refused_before_anything_is_computed() -> None:
    """Layers that do not fit, inputs and arrays of another shape each raise a ShapeError that names the shapes."""
    network, parameters = network_of(dense(3, 2), dense(2, 1))
    with pytest.raises(ShapeError, match="2 units can't feed one of 5 inputs"):
        Network([dense(3, 2), dense(5, 1)])
    with pytest.raises(ShapeError, match="3 units can't feed one of 2 inputs"):
        Residual([dense(2, 3)])
    with pytest.raises(ShapeError, match=r"\(rows, 3\), got \(4, 2\)"):
        network.forward(parameters, np.zeros((4, 2)))
    with pytest.raises(ShapeError, match=r"layers.0.w must be of shape \(3, 2\)"):
        parameters.load(parameters.named() | {"layers.0.w": np.zeros((2, 3))})
    with pytest.raises(ShapeError, match="arrays must be"):
        parameters.load({})


def test_forward_changes_nothing_and_activities_show_every_layer(generator: np.random.Generator) -> None:
    """Predicting leaves weights and inputs as they were; the last layer's a is the output."""
    network, parameters = network_of(dense(3, 4, "relu"), dense(4, 2, "softmax"))
    x, before = generator.normal(size=(5, 3)), parameters.flat.copy()
    kept = x.copy()
    outputs = network.forward(parameters, x)
    np.testing.assert_array_equal(parameters.flat, before)
    np.testing.assert_array_equal(x, kept)
    activities = network.activities(parameters, x)
    assert [activity.z.shape for activity in activities] == [(4, 5), (2, 5)]
    np.testing.assert_array_equal(activities[-1].a.T, outputs)
    np.testing.assert_allclose(outputs.sum(axis=1), 1)


def test_a_stacks_arrays_carry_their_members_number() -> None:
    """A stack's arrays are named by member, show that member's numbers, and load again."""
    network, _ = network_of(dense(3, 2), dense(2, 1))
    stack = network.parameters(np.float32, members=2)
    stack.flat[...] = np.arange(stack.flat.size).reshape(stack.flat.shape)
    names = stack.named()
    assert list(names)[:2] == ["members.0.layers.0.w", "members.0.layers.0.b"]
    np.testing.assert_array_equal(names["members.1.layers.1.b"], stack.flat[1, -1:])
    other = network.parameters(np.float32, members=2)
    other.load(names)
    np.testing.assert_array_equal(other.flat, stack.flat)


def test_batch_norms_running_figures_are_those_of_its_paper(generator: np.random.Generator) -> None:
    """A tenth of each batch's mean and unbiased variance, the rest from before; a batch of one row changes nothing."""
    layer = BatchNorm(3, ACTIVATIONS["identity"])
    parameters, gradients = (Parameters([layer.shapes], np.float64) for _ in range(2))
    views = parameters.views[0]
    layer.initialize(views, generator)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(4):
        x = generator.normal(2, 3, size=(6, 3))
        layer.training_pass(views, gradients.views[0], 6, first=False).forward(with_ones(x), generator)
        mean, variance = 0.9 * mean + 0.1 * x.mean(axis=0), 0.9 * variance + 0.1 * x.var(axis=0, ddof=1)
    layer.training_pass(views, gradients.views[0], 1, first=False).forward(with_ones(x[:1]), generator)
    np.testing.assert_allclose(views["mean"], mean)
    np.testing.assert_allclose(views["variance"], variance)
    expected = (x - mean) / np.sqrt(variance + 1e-5)
    np.testing.assert_allclose(layer.forward(views, x.T).a, expected.T)


def test_a_category_never_seen_gets_no_gradient(generator: np.random.Generator) -> None:
    """Its point is 0 and stays 0, even if rows of it are trained on."""
    layer = Embedding(2, 0, 3, 2)
    parameters, gradients = (Parameters([layer.shapes], np.float64) for _ in range(2))
    layer.initialize(parameters.views[0], generator)
    step = layer.training_pass(parameters.views[0], gradients.views[0], 4, first=False)
    x = np.array([[0, 1.0], [3, 2.0], [2, 3.0], [3, 4.0]])
    a = step.forward(with_ones(x), generator)
    np.testing.assert_array_equal(a[1:3, [1, 3]], 0)
    step.backward(np.ones((3, 4)))
    np.testing.assert_array_equal(gradients.views[0]["w"], [[1, 1], [0, 0], [1, 1], [0, 0]])
