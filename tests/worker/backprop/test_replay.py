"""A kept step is the step that the run made: recomputed in PyTorch and NumPy from its inputs and the weights before."""

import hashlib
from typing import Any

import numpy as np
import pytest

from tests.worker.insight.conftest import dense
from tests.worker.insight.in_pytorch import torch_or_skip
from tests.worker.insight.test_certificate import MIXED, loaded, trained
from worker.backprop import replay
from worker.backprop.fit import Training
from worker.backprop.replay import KeptStep
from worker.networks.layers import LAYERS

ADAM = {"type": "adam", "learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6}
PRECISE: dict[str, Any] = {"epochs": 3, "batch_size": 10, "optimizer": ADAM, "precision": "float64"}


def kept(training: Training) -> list[KeptStep]:
    assert training.replay is not None
    return training.replay.collect()


class Recomputed:
    """One step in PyTorch, in training mode, from the arrays before the step. loss: the mean over its rows."""

    def __init__(self, layers: list[Any], arrays: dict[str, Any]) -> None:
        self.torch = torch_or_skip()
        self.given = {name: self.torch.tensor(np.array(array)) for name, array in arrays.items()}
        self.weights = {
            name.removeprefix("before."): tensor.clone().requires_grad_(not name.endswith(("mean", "variance")))
            for name, tensor in self.given.items()
            if name.startswith("before.")
        }
        self.zs: dict[str, Any] = {}
        self.activations: dict[str, Any] = {}
        out = self.given["x"]
        for n, layer in enumerate(layers):
            out = self.layer(layer, out, f"layers.{n}")
        losses = -(self.given["targets"] * self.torch.log(out)).sum(dim=1)
        self.loss = (losses * self.given["row_weights"]).mean()

    def layer(self, layer: Any, x: Any, name: str) -> Any:
        functional = self.torch.nn.functional
        of = {kind: self.weights.get(f"{name}.{kind}") for kind in ("w", "b", "scale", "shift", "mean", "variance")}
        match layer["type"]:
            case "dense":
                z = x @ of["w"] + of["b"]
            case "dropout":
                z = x * self.given[f"mask.{name}"]
            case "batch_norm":
                z = functional.batch_norm(
                    x, of["mean"], of["variance"], of["scale"], of["shift"], True, layer["momentum"], layer["epsilon"]
                )
            case "layer_norm":
                z = functional.layer_norm(x, (x.shape[1],), of["scale"], of["shift"], layer["epsilon"])
            case "embedding":
                others = [n for n in range(x.shape[1]) if n != layer["position"]]
                z = self.torch.cat([x[:, others], of["w"][x[:, layer["position"]].long()]], dim=1)
            case _:
                z = x
                for n, inner in enumerate(layer["layers"]):
                    z = self.layer(inner, z, f"{name}.layers.{n}")
                z = z + x
        activation = layer.get("activation", "identity")
        known = {"identity": lambda z: z, "softmax": lambda z: self.torch.softmax(z, dim=1)}
        a = (known.get(activation) or getattr(functional, activation))(z) * 1
        self.zs[name], self.activations[name] = z, a
        return a

    def gradient(self, of: Any) -> Any:
        (found,) = self.torch.autograd.grad(self.loss, [of], retain_graph=True, allow_unused=True)
        return np.zeros(of.shape) if found is None else found.numpy()


def adam_by_hand(w: Any, g: Any, m: Any, v: Any, t: int) -> Any:
    """Return algorithm 1 of Kingma and Ba; the engine's slots are m / (1 - beta1) and v / (1 - beta2)."""
    m = 0.8 * m * 0.2 + 0.2 * g
    v = 0.95 * v * 0.05 + 0.05 * g * g
    return w - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)


@pytest.mark.parametrize("number", [1, 3, 8])
def test_a_kept_step_can_be_followed_number_by_number(number: int) -> None:
    """For every kind of layer z, a and all gradients are autograd's, and the update is that of Adam's paper."""
    ready = loaded(**MIXED | {"training": PRECISE | {"replay_steps": [number]}})
    list(ready.training.run(lambda: False))
    (step,) = kept(ready.training)
    arrays = step.arrays
    # 32 rows are three batches of ten and one of two: step 8 is the last of the second epoch
    assert (step.number, step.epoch, step.optimizer_steps) == (number, {1: 1, 3: 1, 8: 2}[number], number - 1)
    assert arrays["x"].shape[0] == (2 if number == 8 else 10)
    again = Recomputed(LAYERS.dump_python(ready.layers, mode="json"), arrays)
    shown = [name for name in arrays if name.startswith("z.")]
    assert len(shown) == 1 + 1 + 3 + 1
    near = {"rtol": 1e-9, "atol": 1e-12}
    for name in shown:
        layer = name.removeprefix("z.")
        z, a = again.zs[layer], again.activations[layer]
        np.testing.assert_allclose(arrays[name], z.detach(), **near)
        np.testing.assert_allclose(arrays[f"a.{layer}"], a.detach(), **near)
        np.testing.assert_allclose(arrays[f"grad_z.{layer}"], again.gradient(z), **near)
        if layer != "layers.5":
            np.testing.assert_allclose(arrays[f"grad_a.{layer}"], again.gradient(a), **near)
    for name, tensor in again.weights.items():
        if name.endswith(("mean", "variance")):
            # moved by the forward pass, not by the optimizer
            np.testing.assert_allclose(arrays[f"after.{name}"], tensor, **near)
            continue
        gradient = again.gradient(tensor)
        np.testing.assert_allclose(arrays[f"gradient.{name}"], gradient, **near)
        m, v = arrays[f"slots.m.{name}"], arrays[f"slots.v.{name}"]
        expected = adam_by_hand(arrays[f"before.{name}"], gradient, m, v, number)
        # what Adam divides by may be next to 0 where a gradient is
        np.testing.assert_allclose(arrays[f"after.{name}"], expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(
            arrays[f"before.{name}"] + arrays[f"update.{name}"], arrays[f"after.{name}"], rtol=1e-13
        )


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_keeping_steps_changes_no_bit_of_a_run(precision: str) -> None:
    """Keeping four steps leaves the final weights as they are without, in float32 and float64."""
    plain = trained(**MIXED | {"training": PRECISE | {"precision": precision}})
    watched = trained(**MIXED | {"training": PRECISE | {"precision": precision, "replay_steps": [1, 2, 6, 12]}})
    np.testing.assert_array_equal(plain.parameters.flat, watched.parameters.flat)
    assert [step.number for step in kept(watched)] == [1, 2, 6, 12]
    assert kept(watched) == []


def test_one_steps_end_is_the_next_ones_beginning_and_the_last_is_the_result() -> None:
    """The weights after a step are those before the next, and those after the last are the result."""
    training = trained(training=PRECISE | {"replay_steps": [35, 36], "validation": {"fraction": 0.2}})
    first, last = kept(training)
    for name, array in training.parameters.named().items():
        np.testing.assert_array_equal(first.arrays[f"after.{name}"], last.arrays[f"before.{name}"])
        np.testing.assert_array_equal(last.arrays[f"after.{name}"], array)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
def test_activations_of_every_manner_of_keeping_are_kept(activation: str) -> None:
    """Whether z is bound, kept or overwritten, a = f(z) and dL/dz = dL/da x da/dz hold for what is kept."""
    layers = [dense(5, activation), {"type": "layer_norm", "activation": activation}]
    training = trained(network={"layers": layers}, training=PRECISE | {"replay_steps": [2]})
    arrays = kept(training)[0].arrays
    functional = torch_or_skip().nn.functional
    for layer in ("layers.0", "layers.1"):
        z = torch_or_skip().tensor(arrays[f"z.{layer}"], requires_grad=True)
        a = functional.gelu(z, approximate="tanh") if activation == "gelu" else getattr(functional, activation)(z)
        a.backward(torch_or_skip().tensor(arrays[f"grad_a.{layer}"]))
        np.testing.assert_allclose(arrays[f"a.{layer}"], a.detach(), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(arrays[f"grad_z.{layer}"], z.grad, rtol=1e-9, atol=1e-14)


def test_a_run_that_keeps_nothing_has_nothing_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an epoch with a wanted step is watched; without such a step none is."""
    watched: list[int] = []
    watch = replay.Replay.watch

    def counted(self: Any, updates: Any, *, epoch: int, number: int) -> Any:
        watched.append(epoch)
        return watch(self, updates, epoch=epoch, number=number)

    monkeypatch.setattr(replay.Replay, "watch", counted)
    trained(training=PRECISE)
    assert watched == []
    # twelve batches of ten an epoch
    trained(training=PRECISE | {"replay_steps": [13, 14]})
    assert watched == [2]


def test_a_step_kept_after_a_resume_is_the_same() -> None:
    """Stopped at every step and moved to a new training each time, a run keeps the same bits."""
    whole = trained(**MIXED | {"training": PRECISE | {"replay_steps": [3, 5]}})
    expected, found = kept(whole), []
    state = None
    for _ in range(20):
        training = loaded(**MIXED | {"training": PRECISE | {"replay_steps": [3, 5]}}).training
        if state is not None:
            training.restore(state)
        list(training.run(lambda: True))
        found += kept(training)
        state = training.state()
    assert [step.number for step in found] == [3, 5]
    for one, other in zip(found, expected, strict=True):
        assert digest(one) == digest(other)


def digest(step: KeptStep) -> str:
    content = b"".join(name.encode() + array.tobytes() for name, array in sorted(step.arrays.items()))
    return hashlib.sha256(content).hexdigest()
