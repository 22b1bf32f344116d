"""How weights, activations and gradients are spread within each layer: whether it saturates, dies or vanishes."""

from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.insight.gradients import write_gradients
from worker.insight.passes import Passes
from worker.insight.subject import Subject, describe

Histogram = dict[str, list[float] | list[int]]


def histograms_of(subject: Subject, x: Floats, y: Targets, *, bins: int, layer: int | None = None) -> dict[str, Any]:
    """Of every layer, or of one. x: (rows, inputs), a sample, in inference mode; gradients are of its mean loss.

    Raises QuestionError where the network overflows on a row.
    """
    passes, gradients = Passes(subject, x, y), subject.parameters.like()
    write_gradients(passes.steps, gradients)
    wanted = range(len(subject.layers)) if layer is None else (layer,)
    found = []
    for n in wanted:
        step, weights, slopes = passes.steps[n], subject.parameters.views[n], gradients.views[n]
        trained = [name for name in weights if name.rpartition(".")[2] not in ("mean", "variance")]
        found.append(
            {
                "layer": n,
                "type": subject.layers[n].type,
                "weights": {name: histogram(array, bins) for name, array in weights.items()},
                "activations": {"z": histogram(step.z, bins), "a": histogram(step.a, bins)},
                "gradients": {name: histogram(slopes[name], bins) for name in trained},
                # each row's loss by itself: the mean's would shrink with the sample
                "unit_gradients": {"a": histogram(step.grad_a, bins), "z": histogram(step.grad_z, bins)},
            }
        )
    return describe(subject) | {"rows": len(x), "loss": float(passes.losses.mean()), "layers": found}


def histogram(values: Floats, bins: int) -> Histogram:
    """bins + 1 edges from the least to the greatest, and how many values lie between; the last bin has both its edges.

    A product that is out of float64's reach is left out.
    """
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite, bins)
    return {"edges": edges.tolist(), "counts": counts.tolist()}
