"""Turns a batch's gradient into new weights: accumulation, penalties, clipping, decay, and the optimizer's step."""

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from worker.backprop.arrays import Floats, mean
from worker.backprop.optimizer_base import Optimizer
from worker.backprop.parameters import Parameters
from worker.backprop.plan import Plan

MakeOptimizer = Callable[[Floats, Floats], Optimizer]


class Updates:
    """Turns gradients into steps of the weights.

    gradient_norm: the norm of the gradient before clipping, from the last step for which it was computed; one number
        for each member.
    layer_norms: the same for each layer's gradient, if layers were asked for.
    before: the weights before that step, if layers were asked for.
    """

    def __init__(
        self,
        plan: Plan,
        make: MakeOptimizer,
        parameters: Parameters,
        gradients: Parameters,
        penalised: Sequence[Collection[str]],
    ) -> None:
        """penalised: the names of the arrays that penalties and decay act on, for each layer."""
        self.plan, self.parameters, self.gradients = plan, parameters, gradients
        # frozen layers come first, so what is trained is one piece of the flat arrays, and a step costs less
        trained = slice(parameters.size_of_first(plan.frozen), None)
        self.optimizer = make(parameters.flat[..., trained], gradients.flat[..., trained])
        self.gradient_norm: Floats = np.zeros(plan.members)
        self.layer_norms: list[Floats] = []
        self.before: Floats | None = None
        self.accumulated = gradients.like() if plan.accumulate > 1 else None
        self.accumulated_batches = self.accumulated_rows = 0
        # the trained weights that penalties and decay act on, with their gradients
        each = list(zip(parameters.views, gradients.views, penalised, strict=True))
        self._weights = [(w[name], grad[name]) for w, grad, names in each[plan.frozen :] for name in names]
        self._penalised = bool(np.any(plan.l1) or np.any(plan.l2))
        self._decays = bool(np.any(plan.decay))
        clips = plan.clip_norm is not None or plan.clip_value is not None
        self._plain = not (self._penalised or self._decays or clips or self.accumulated is not None)

    def apply(self, rows: int, learning_rate: float | Floats, *, last: bool = True, layers: bool = False) -> None:
        """Apply the gradient of a batch: take a step, or add the gradient to others until a step is due.

        rows: how many rows the batch has.
        learning_rate: a number, or (members, 1).
        last: this is the epoch's last batch, so record the gradient norm.
        layers: in the last batch, also record each layer's norms.
        """
        if self._plain and not last:
            self.optimizer.step(learning_rate)
            return
        if self.accumulated is not None and not self._complete(rows, last=last):
            return
        if self._penalised:
            self._penalise()
        if last or self.plan.clip_norm is not None:
            self.gradient_norm = norm(self.gradients.flat)
        if last:
            self.layer_norms = [norm(views.flat) for views in self.gradients.views] if layers else []
            self.before = self.parameters.flat.copy() if layers else None
        if self.plan.clip_norm is not None or self.plan.clip_value is not None:
            self._clip()
        if self._decays:
            # multiplied by the whole rate, as in PyTorch and Optax; the paper (Loshchilov and Hutter (2019),
            # algorithm 2) multiplies by the schedule's factor alone
            for w, _ in self._weights:
                np.multiply(w, _broadcast(1 - np.ravel(learning_rate) * self.plan.decay, w), out=w)
        self.optimizer.step(learning_rate)

    def _complete(self, rows: int, *, last: bool) -> bool:
        """Add a batch's gradient to those before it. Return whether a step is due, with their mean in the gradients."""
        accumulated = self.accumulated
        assert accumulated is not None  # noqa: S101 - checked by `apply`
        self.accumulated_batches += 1
        self.accumulated_rows += rows
        accumulated.flat += rows * self.gradients.flat
        if self.accumulated_batches < self.plan.accumulate and not last:
            return False
        np.divide(accumulated.flat, self.accumulated_rows, out=self.gradients.flat)
        accumulated.flat[...] = 0
        self.accumulated_batches = self.accumulated_rows = 0
        return True

    def _penalise(self) -> None:
        # d(l2/2 |w|^2)/dw = l2 w, d(l1 |w|)/dw = l1 sign(w)
        for w, grad_w in self._weights:
            if np.any(self.plan.l2):
                np.add(grad_w, _broadcast(self.plan.l2, w) * w, out=grad_w)
            if np.any(self.plan.l1):
                np.add(grad_w, _broadcast(self.plan.l1, w) * np.sign(w), out=grad_w)

    def _clip(self) -> None:
        # first by value, then by norm
        gradient = self.gradients.flat
        if self.plan.clip_value is not None:
            np.clip(gradient, -self.plan.clip_value, self.plan.clip_value, out=gradient)
        if self.plan.clip_norm is not None and (self.gradient_norm > self.plan.clip_norm).any():
            longer = norm(gradient) / self.plan.clip_norm
            gradient /= np.maximum(longer, 1).astype(gradient.dtype)[..., None]


def norm(flat: Floats) -> Floats:
    """Return the Euclidean norm of each member's flat array, (...)."""
    square = np.dot(flat, flat) if flat.ndim == 1 else np.einsum("kp,kp->k", flat, flat)
    if not math.isfinite(mean(square)) and flat.dtype != np.float64:
        # the sum of squares overflows float32, though the norm itself may be finite
        return norm(flat.astype(np.float64))
    return np.sqrt(square, dtype=np.float64)


def _broadcast(number: float | Floats, w: Floats) -> Floats:
    """Return one number, or one for each member, in the shape that broadcasts over w."""
    array = np.asarray(number, w.dtype)
    return array.reshape(-1, *[1] * (w.ndim - 1)) if array.ndim else array
