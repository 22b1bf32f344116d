"""A proof of the gradients that a job was trained with: of each layer one directional derivative, in float64.

The engine's own training pass, the very code that trained the network, computes dL/dw in float64 on a few rows of the
training part. For a random direction d of length 1 in the weights of one layer, dL/dw . d must be the derivative of
L(w + t d) at t = 0, which central differences of the loss tell without the chain rule. A fault in any of a layer's
gradients shows unless d happens to be at right angles to it. Source: Bishop (2006), section 5.3.3.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from worker.backprop.activation import Activation
from worker.backprop.arrays import Floats
from worker.backprop.fit import Training
from worker.backprop.layers.layer import Layer
from worker.backprop.layers.residual import Residual
from worker.backprop.network import TrainingPass
from worker.backprop.parameters import Parameters, Views
from worker.insight.difference import STEPS, Difference, Look, central_difference, sides

ROWS, FEWEST_ROWS = 8, 2
PRODUCTS = 200_000_000
"Of a weight with a row, at most: a fraction of a second, and some 2 million weights in three layers."
LOOKS = 4 * len(STEPS) + 1
"At a layer's loss, at most."
RUNNING = ("mean", "variance")
VERDICTS = ("agrees", "kink", "differs")
"From good to bad."

Certificate = dict[str, Any]


def certify(training: Training) -> Certificate:
    """Of the final weights, in training mode: batch_norm by these rows, one draw of dropout. Of a stack, member 0.

    Of all layers that are trained: frozen ones have no gradient.

    Where it would take too long it is skipped, by arithmetic, and says so.
    """
    layers = training.network.layers
    trained = [n for n, layer in enumerate(layers) if layer.shapes and n >= training.plan.frozen]
    products = training.final.flat.shape[-1] * LOOKS * len(trained)
    rows = min(ROWS, training.train.rows, PRODUCTS // products)
    if rows < min(FEWEST_ROWS, training.train.rows):
        return skipped(f"a row would take {products:.2g} products, and two are too few; the limit is {PRODUCTS:.2g}")
    with np.errstate(all="ignore"):
        proof = _Proof(training, rows)
        checked = [proof.of_layer(n) for n in trained]
    if not all(math.isfinite(layer["gradient"] + layer["uncertainty"]) for layer in checked):
        return skipped("the loss of these rows, or of weights next to these, is out of float64's reach")
    verdict = max((layer["verdict"] for layer in checked), key=VERDICTS.index)
    return {"verdict": verdict, "reason": None, "rows": rows, "loss": proof.loss, "layers": checked}


def skipped(reason: str) -> Certificate:
    return {"verdict": "skipped", "reason": reason, "rows": 0, "loss": None, "layers": []}


class _Proof:
    def __init__(self, training: Training, rows: int) -> None:
        final = training.final
        self.network, self.objective = training.network, training.objective
        self.parameters = self.network.parameters(np.float64)
        # evenly spaced: a table may be sorted
        chosen = np.linspace(0, training.train.rows - 1, rows).astype(np.intp)
        part = training.train
        self.x = part.x_and_ones[chosen].astype(np.float64).T.copy()
        self.y = part.y[chosen] if part.y.dtype.kind == "i" else part.y[chosen].astype(np.float64)
        self.weights = np.ones(rows) if part.weights is None else part.weights[chosen].astype(np.float64)
        self.targets = self.objective.encode(self.y, self.network.outputs, np.float64)
        self.z = np.empty((self.network.outputs, rows))
        self.gradients: Parameters = self.parameters.like()
        self.frozen = training.plan.frozen
        self.training_pass = TrainingPass(
            self.network, self.objective, self.parameters, self.gradients, rows, frozen=self.frozen
        )
        self.parameters.flat[...] = (final if final.members is None else final.member(0)).flat
        self.training_pass(self.x, self.targets, self.weights, self.z, _draw())
        self.loss = self._loss()

    def of_layer(self, n: int) -> dict[str, Any]:
        """One layer's derivative along a direction, by back-propagation and by differences."""
        direction = self._direction(n)
        gradient = float(self.gradients.views[n].flat @ direction)
        weights = self.parameters.views[n].flat
        start = weights.copy()

        def look(distance: float) -> Look:
            np.multiply(direction, distance, out=weights)
            np.add(weights, start, out=weights)
            return self._look()

        difference = central_difference(look, 0.0, size=float(np.abs(start).max()))
        weights[...] = start
        return {"layer": n, "numbers": int(np.count_nonzero(direction))} | _told(difference, gradient)

    def _direction(self, n: int) -> Floats:
        """Of length 1, in the trained numbers of one layer; the same for the same layer."""
        direction = np.zeros_like(self.parameters.views[n].flat)
        generator = np.random.default_rng(n)
        for name, array in Views(direction, self.parameters.shapes[n]).items():
            if name.rpartition(".")[2] not in RUNNING:
                array[...] = generator.normal(size=array.shape)
        return direction / np.linalg.norm(direction)

    def _look(self) -> Look:
        """The loss of a forward pass as training makes it, and the sides of the kinks."""
        a: Floats = self.x
        generator = _draw()
        for layer in self.training_pass.hidden:
            a = layer.forward(a, generator)
        self.training_pass.output.weighted_sum(a, self.z)
        # nothing moves in frozen layers
        moved = slice(self.frozen, None)
        parts = list(_activities(self.network.layers[:-1][moved], self.training_pass.hidden[moved]))
        last = self.objective.activation.value(self.z.copy())
        parts.append((self.objective.activation, last))
        return Look(self._loss(), sides(parts, self.objective, last - self.targets))

    def _loss(self) -> float:
        """Of the last z: the mean over the rows, each by its weight, whose gradient a training pass gives."""
        return float((self.objective.losses(self.z, self.y) * self.weights).mean())


def _draw() -> np.random.Generator:
    """The same masks of dropout each time."""
    return np.random.default_rng(0)


def _activities(layers: Sequence[Layer], passes: Sequence[Any]) -> Iterator[tuple[Activation, Floats]]:
    """Activations with what they gave in the last forward pass, those within blocks too."""
    for layer, at_work in zip(layers, passes, strict=True):
        if isinstance(layer, Residual):
            yield from _activities(layer.layers, at_work.passes)
        elif hasattr(layer, "activation"):
            yield layer.activation, at_work.a


def _told(difference: Difference, gradient: float) -> dict[str, Any]:
    return {
        "gradient": gradient,
        "finite_difference": difference.value,
        "relative_error": difference.relative_error(gradient),
        "uncertainty": difference.uncertainty,
        "step": difference.step,
        "verdict": difference.verdict(gradient),
    }
