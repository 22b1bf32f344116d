"""A forward and a backward pass of some rows that keep every factor of the chain rule.

Training combines factors and overwrites arrays, which is fast. Here each factor is an array of its own, in float64 and
of shape (units, rows). Everything is in inference mode, without dropout and with batch_norm's running figures. So rows
do not affect each other, and the dL/dw of a batch is the mean of its rows' dL/dw.
"""

from dataclasses import dataclass

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.backprop.layers.layer import Step, backward, forward
from worker.backprop.losses.objective import Objective
from worker.backprop.parameters import Parameters
from worker.errors import QuestionError
from worker.insight.subject import Subject


@dataclass(frozen=True)
class Output:
    """The start of back-propagation, for each row as if it were the whole batch. All arrays are (outputs, rows).

    y: the target that a is compared with.
    grad_a: dL/da.
    long: dL/da x da/dz, factor by factor, summed over k for softmax. It is not finite where a is too near 0 or 1 for
        float64.
    grad_z: dL/dz as training computes it.
    fused: whether grad_z is a short form such as a - y, in which da/dz cancels: softmax with cross-entropy, sigmoid
        with binary cross-entropy, and exp with Poisson's loss.
    """

    y: Floats
    grad_a: Floats
    long: Floats
    grad_z: Floats
    fused: bool


class Passes:
    """A forward and a backward pass of some rows.

    x: (rows, inputs), encoded.
    y: the targets as the objective takes them.
    losses: the loss of each row, (rows,).
    Raises QuestionError if a row's loss is not finite.
    """

    @np.errstate(all="ignore")
    def __init__(self, subject: Subject, x: Floats, y: Targets) -> None:
        network, parameters = subject.network, subject.parameters
        self.steps = forward(list(zip(network.layers, parameters.views, strict=True)), x.T)
        self.losses = subject.objective.losses(self.steps[-1].z, y)
        if not np.isfinite(self.losses).all():
            row = int(np.isfinite(self.losses).argmin())
            raise QuestionError("", f"row {row} is so far from the training data that the network overflows")
        self.output = _output(subject.objective, self.steps[-1], y)
        self.steps[-1].grad_a = self.output.grad_a
        backward(self.steps, self.output.grad_z, is_grad_z=True)
        self._parameters = parameters

    def gradients(self) -> Parameters:
        """Return dL/dw of the mean loss for every weight, in the layout of the parameters. Running figures get 0."""
        gradients = self._parameters.like()
        for step, views in zip(self.steps, gradients.views, strict=True):
            step.layer.write_gradients(step, views)
        return gradients


def _output(objective: Objective, step: Step, y: Targets) -> Output:
    """Return the start of the backward pass. step: the output layer's."""
    units = step.z.shape[0]
    targets = objective.encode(y, units, np.float64)
    expected = objective.expected(targets)
    grad_a = objective.grad_a(step.a, expected)
    long = grad_a.copy()
    objective.activation.grad_z(long, step.z, step.a.copy())
    grad_z = np.empty_like(step.z)
    objective.grad_z(step.z.copy(), targets, grad_z, np.asarray(objective.scale(1, units)))
    return Output(expected, grad_a, long, grad_z, objective.fused)
