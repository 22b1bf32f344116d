"""Histograms of the weights, activations and gradients of each layer, which show whether it saturates or dies."""

from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.insight.passes import Passes
from worker.insight.subject import Subject, describe

Histogram = dict[str, list[float] | list[int]]


def histograms_of(subject: Subject, x: Floats, y: Targets, *, bins: int, layer: int | None = None) -> dict[str, Any]:
    """Return the histograms of every layer, or of one, as JSON values.

    Everything is in inference mode, and the gradients are those of the sample's mean loss.
    x: a sample of rows, (rows, inputs). y: their targets.
    layer: the position of the only layer to return; None for all.
    Raises QuestionError if the network overflows on a row.
    """
    passes = Passes(subject, x, y)
    gradients = passes.gradients()
    found = []
    for n in range(len(subject.layers)) if layer is None else (layer,):
        step, weights, slopes = passes.steps[n], subject.parameters.views[n], gradients.views[n]
        trained = [name for name in weights if name not in step.layer.running]
        found.append(
            {
                "layer": n,
                "type": subject.layers[n].type,
                "weights": {name: histogram(array, bins) for name, array in weights.items()},
                "activations": {"z": histogram(step.z, bins), "a": histogram(step.a, bins)},
                "gradients": {name: histogram(slopes[name], bins) for name in trained},
                # derivatives of each row's own loss: those of the mean loss would shrink as the sample grows
                "unit_gradients": {"a": histogram(step.grad_a, bins), "z": histogram(step.grad_z, bins)},
            }
        )
    return describe(subject) | {"rows": len(x), "loss": float(passes.losses.mean()), "layers": found}


def histogram(values: Floats, bins: int) -> Histogram:
    """Return bins + 1 edges from the smallest value to the largest, and how many values each bin has.

    The last bin includes both its edges. Values that are not finite are left out.
    """
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
