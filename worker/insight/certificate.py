"""A numerical check of a job's gradients at the end of training: one directional derivative per layer, in float64.

The training pass, which is the code that trained the network, computes dL/dw in float64 on a few rows of the training
part. For a random direction d of length 1 in the weights of one layer, dL/dw . d must equal the derivative of
L(w + t d) at t = 0, which central differences of the loss give without the chain rule. An error in any gradient of the
layer is found, unless the error is by chance at right angles to d. Source: Bishop (2006), section 5.3.3.
"""

import math
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.fit import Training
from worker.backprop.network import TrainingPass
from worker.backprop.parameters import Parameters, Views
from worker.insight.difference import STEPS, Difference, LossAt, central_difference, sides

ROWS, FEWEST_ROWS = 8, 2
PRODUCTS = 200_000_000
"""The most products of a row with a weight that a check may make. They take a fraction of a second; it is enough for
some 2 million weights in three layers."""
MEASUREMENTS = 4 * len(STEPS) + 1
"The most evaluations of the loss for one layer."
VERDICTS = ("agrees", "kink", "differs")
"From best to worst."

Certificate = dict[str, Any]


def certify(training: Training) -> Certificate:
    """Check the gradients at the final weights in training mode: batch_norm by these rows, and one draw of dropout.

    In a stack only member 0 is checked. Frozen layers have no gradient and are left out. A check that would take too
    long is skipped, and its certificate gives the reason.
    """
    layers = training.network.layers
    trained = [n for n, layer in enumerate(layers) if layer.shapes and n >= training.plan.frozen]
    products = training.final.flat.shape[-1] * MEASUREMENTS * len(trained)
    rows = min(ROWS, training.train.rows, PRODUCTS // products)
    if rows < min(FEWEST_ROWS, training.train.rows):
        detail = f"it needs at least {FEWEST_ROWS} rows of {products:.2g} products each; the limit is {PRODUCTS:.2g}"
        return skipped(detail)
    with np.errstate(all="ignore"):
        checks = _GradientCheck(training, rows)
        checked = [checks.of_layer(n) for n in trained]
    if not all(math.isfinite(layer["gradient"] + layer["uncertainty"]) for layer in checked):
        return skipped("the loss overflows float64, on these rows or with weights next to the final ones")
    verdict = max((layer["verdict"] for layer in checked), key=VERDICTS.index)
    return {"verdict": verdict, "reason": None, "rows": rows, "loss": checks.loss, "layers": checked}


def skipped(reason: str) -> Certificate:
    """Return a certificate that says why nothing was checked."""
    return {"verdict": "skipped", "reason": reason, "rows": 0, "loss": None, "layers": []}


class _GradientCheck:
    """One forward and backward pass at the final weights, and the checks of its gradients."""

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
        self.training_pass = TrainingPass(
            self.network, self.objective, self.parameters, self.gradients, rows, frozen=training.plan.frozen
        )
        self.parameters.flat[...] = (final if final.members is None else final.member(0)).flat
        self.training_pass(self.x, self.targets, self.weights, self.z, _draw())
        self.loss = self._loss()

    def of_layer(self, n: int) -> dict[str, Any]:
        """Return the findings for one layer: its derivative along a direction, by back-propagation and differences."""
        direction = self._direction(n)
        gradient = float(self.gradients.views[n].flat @ direction)
        weights = self.parameters.views[n].flat
        start = weights.copy()

        def loss_at(distance: float) -> LossAt:
            np.multiply(direction, distance, out=weights)
            np.add(weights, start, out=weights)
            return self._measure()

        difference = central_difference(loss_at, 0.0, size=float(np.abs(start).max()))
        weights[...] = start
        return {"layer": n, "numbers": int(np.count_nonzero(direction))} | _findings(difference, gradient)

    def _direction(self, n: int) -> Floats:
        """Return a direction of length 1 in the trained numbers of one layer; always the same for that layer."""
        direction = np.zeros_like(self.parameters.views[n].flat)
        generator = np.random.default_rng(n)
        for name, array in Views(direction, self.parameters.shapes[n]).items():
            if name not in self.network.layers[n].running:
                array[...] = generator.normal(size=array.shape)
        return direction / np.linalg.norm(direction)

    def _measure(self) -> LossAt:
        """Return the loss of a forward pass in training mode, and the sides of the kinks."""
        a: Floats = self.x
        generator = _draw()
        for layer in self.training_pass.hidden:
            a = layer.forward(a, generator)
        self.training_pass.output.weighted_sum(a, self.z)
        parts = [part for layer in self.training_pass.hidden for part in layer.activities()]
        last = self.objective.activation.value(self.z.copy())
        parts.append((self.objective.activation, last))
        return LossAt(self._loss(), sides(parts, self.objective, last - self.targets))

    def _loss(self) -> float:
        """Return the weighted mean loss of the last z: the loss whose gradient a training pass computes."""
        return float((self.objective.losses(self.z, self.y) * self.weights).mean())


def _draw() -> np.random.Generator:
    """Return a generator that draws the same dropout masks each time."""
    return np.random.default_rng(0)


def _findings(difference: Difference, gradient: float) -> dict[str, Any]:
    return {
        "gradient": gradient,
        "finite_difference": difference.value,
        "relative_error": difference.relative_error(gradient),
        "uncertainty": difference.uncertainty,
        "step": difference.step,
        "verdict": difference.verdict(gradient),
    }
