"""Some rows through a network and back, each factor kept."""

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.errors import QuestionError
from worker.insight.output import output_of
from worker.insight.subject import Subject
from worker.insight.trace import backward, forward


class Passes:
    """A forward and a backward pass of some rows. x: (rows, inputs), encoded. losses: of each row, (rows,)."""

    @np.errstate(all="ignore")
    def __init__(self, subject: Subject, x: Floats, y: Targets) -> None:
        network, parameters = subject.network, subject.parameters
        self.steps = forward(list(zip(network.layers, parameters.views, strict=True)), x.T)
        self.losses = subject.objective.losses(self.steps[-1].z, y)
        if not np.isfinite(self.losses).all():
            row = int(np.isfinite(self.losses).argmin())
            raise QuestionError("", f"row {row} is so far from the training data that the network overflows")
        self.output = output_of(subject.objective, self.steps[-1], y)
        self.steps[-1].grad_a = self.output.grad_a
        backward(self.steps, self.output.grad_z, is_grad_z=True)
