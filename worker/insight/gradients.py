"""dL/dw of every weight of a network at once, from the steps of a backward pass."""

import numpy as np

from worker.backprop.layers.dense import Dense
from worker.backprop.layers.embedding import Embedding
from worker.backprop.layers.normalization import LayerNorm
from worker.backprop.layers.residual import Residual
from worker.backprop.parameters import Parameters, Views
from worker.insight.trace import Step, normalized


def write_gradients(steps: list[Step], gradients: Parameters) -> None:
    """The mean over the rows of each row's dL/dw, into an array in the parameters' layout; running figures have 0."""
    for step, views in zip(steps, gradients.views, strict=True):
        _write(step, views)


def _write(step: Step, into: Views) -> None:
    layer, grad_z = step.layer, step.grad_z
    rows = grad_z.shape[1]
    match layer:
        case Dense():
            into["w"][...] = step.x @ grad_z.T / rows
            into["b"][...] = grad_z.mean(axis=1)
        case LayerNorm():
            into["scale"][...] = (grad_z * normalized(step)).mean(axis=1)
            into["shift"][...] = grad_z.mean(axis=1)
        case Embedding():
            np.add.at(into["w"], layer.codes(step.x, ()), grad_z[len(layer.kept) :].T / rows)
            into["w"][-1] = 0
        case Residual():
            for inner, (_, views) in zip(step.inner, layer.parts(into), strict=True):
                _write(inner, views)
