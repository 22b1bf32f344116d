"""The same networks and losses written in PyTorch, whose autograd is an independent witness. All in float64."""

from typing import Any

import numpy as np

from tests.conftest import missing
from worker.insight.subject import Subject


def torch_or_skip() -> Any:
    try:
        import torch
    except ImportError:
        missing("PyTorch")
    return torch


class Witness:
    """zs, activations: of each layer, of inner ones under (layer, inner). loss: the mean over the rows."""

    def __init__(self, subject: Subject, x: Any, y: Any) -> None:
        self.torch = torch_or_skip()
        named = subject.parameters.named()
        self.arrays = {name: self.torch.tensor(np.array(array), requires_grad=True) for name, array in named.items()}
        self.zs: dict[tuple[int, int | None], Any] = {}
        self.activations: dict[tuple[int, int | None], Any] = {}
        out = self.torch.tensor(x)
        for n, layer in enumerate(subject.layers):
            out = self.layer(layer, out, f"layers.{n}", (n, None))
        self.loss = self.loss_of(subject, out, self.zs[len(subject.layers) - 1, None], y)

    def layer(self, layer: Any, x: Any, name: str, key: tuple[int, int | None]) -> Any:
        torch, array = self.torch, lambda kind: self.arrays[f"{name}.{kind}"]
        match layer.type:
            case "dense":
                z = x @ array("w") + array("b")
            case "batch_norm":
                z = torch.nn.functional.batch_norm(
                    x,
                    array("mean").detach(),
                    array("variance").detach(),
                    array("scale"),
                    array("shift"),
                    False,
                    0.1,
                    layer.epsilon,
                )
            case "layer_norm":
                z = torch.nn.functional.layer_norm(x, (x.shape[1],), array("scale"), array("shift"), eps=layer.epsilon)
            case "embedding":
                others = [n for n in range(x.shape[1]) if n != layer.position]
                z = torch.cat([x[:, others], array("w")[x[:, layer.position].long()]], dim=1)
            case "residual":
                z = x
                for n, inner in enumerate(layer.layers):
                    z = self.layer(inner, z, f"{name}.layers.{n}", (key[0], n))
                z = x + z
            case _:
                z = x
        a = self.activation(getattr(layer, "activation", "identity"), z)
        self.zs[key], self.activations[key] = z, a
        return a

    def activation(self, name: str, z: Any) -> Any:
        functional = self.torch.nn.functional
        known = {
            "identity": lambda z: z,
            "gelu": lambda z: functional.gelu(z, approximate="tanh"),
            "softmax": lambda z: self.torch.softmax(z, dim=1),
            "sigmoid": self.torch.sigmoid,
            "tanh": self.torch.tanh,
            "exponential": self.torch.exp,
            # its own hardsigmoid has 1/6 in float32 in its derivative
            "hard_sigmoid": lambda z: self.torch.clamp(z / 6 + 0.5, 0, 1),
        }
        # so that a is a tensor of its own even where it equals z
        return (known.get(name) or getattr(functional, name))(z) * 1

    def loss_of(self, subject: Subject, a: Any, z: Any, y: Any) -> Any:
        """Return the loss as a function of the activations, such as -sum t log a, so that dL/da exists."""
        torch, functional = self.torch, self.torch.nn.functional
        name, numbers = subject.task.loss, subject.task.loss_spec
        smoothing = getattr(numbers, "label_smoothing", 0.0)
        if subject.task.kind == "classes":
            y = functional.one_hot(torch.tensor(y), a.shape[1]).double()
        y = torch.as_tensor(y, dtype=torch.float64)
        match name:
            case "cross_entropy":
                t = y * (1 - smoothing) + smoothing / a.shape[1]
                return -(t * torch.log(a)).sum(dim=1).mean()
            case "binary_cross_entropy":
                return functional.binary_cross_entropy(a, y * (1 - smoothing) + smoothing / 2)
            case "poisson":
                return (a - y * torch.log(a)).mean()
            case "mean_squared_error":
                return functional.mse_loss(a, y)
            case "mean_absolute_error":
                return functional.l1_loss(a, y)
            case "huber":
                return functional.huber_loss(a, y, delta=numbers.delta if numbers else 1.0)
            case "log_cosh":
                return torch.log(torch.cosh(a - y)).mean()
            case _:
                error = y - a
                q = numbers.quantile
                return torch.maximum(q * error, (q - 1) * error).mean()

    def gradients(self, of: list[Any]) -> list[Any]:
        """Return dL/d of each as NumPy arrays, zeros if the loss does not depend on it."""
        found = self.torch.autograd.grad(self.loss, of, retain_graph=True, allow_unused=True)
        return [np.zeros(t.shape) if g is None else g.numpy() for t, g in zip(of, found, strict=True)]

    def slopes(self, a_of: tuple[int, int | None], z_of: tuple[int, int | None], j: int) -> Any:
        """Return da_k/dz_j of the first row for every k."""
        a, z = self.activations[a_of], self.zs[z_of]
        rows = [self.torch.autograd.grad(a[0, k], z, retain_graph=True)[0][0, j] for k in range(a.shape[1])]
        return np.array([float(row) for row in rows])
