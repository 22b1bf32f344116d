"""The figures of each layer, which show whether it learns and how many of its units are dead."""

import numpy as np

from worker.backprop.arrays import Floats
from worker.backprop.network import Network
from worker.backprop.parameters import Parameters
from worker.backprop.plan import LayerFigures
from worker.backprop.updates import norm

# enough rows to tell a dead unit from one that varies little
DEAD_ROWS = 256
BLOCK = 65_536


def layer_figures(
    network: Network, parameters: Parameters, gradients: list[Floats], moved: list[Floats], dead: list[Floats | None]
) -> list[LayerFigures]:
    """Return the figures of each layer, averaged over a stack's members.

    gradients: for each layer, the norm of its gradient.
    moved: for each layer, how far the last step moved its weights.
    dead: for each layer, how many units are dead; None if it has no activation.
    """
    found = []
    each = zip(network.layers, parameters.views, gradients, moved, dead, strict=True)
    for layer, weights, gradient, distance, count in each:
        if not layer.shapes:
            found.append(LayerFigures(layer.units, None, None, None, None))
            continue
        weight_norm, gradient_norm, update_norm = (
            float(value.mean()) for value in (norm(weights.flat), gradient, distance)
        )
        units_dead = None if count is None else float(count.mean())
        found.append(LayerFigures(layer.units, weight_norm, gradient_norm, update_norm, units_dead))
    return found


def distances(parameters: Parameters, before: Floats) -> list[Floats]:
    """Return how far each layer's weights moved, (...). Works in blocks, so as not to need another copy of them."""
    found, start = [], 0
    for views in parameters.views:
        size = views.flat.shape[-1]
        squares = np.zeros(views.flat.shape[:-1])
        for first in range(0, size, BLOCK):
            now = views.flat[..., first : first + BLOCK]
            then = before[..., start + first : start + first + now.shape[-1]]
            squares += norm(now - then) ** 2
        found.append(np.sqrt(squares))
        start += size
    return found


def dead_units(network: Network, parameters: Parameters, x: Floats) -> list[Floats | None]:
    """Return how many units of each layer have the same output for every row of a sample, (...).

    None for layers without an activation, and for all layers if there is a single row. x: (rows, inputs).
    """
    if len(x) < 2:
        return [None] * len(network.layers)
    # evenly spaced: a table may be sorted
    activities = network.activities(parameters, x[:: -(-len(x) // DEAD_ROWS)])
    return [
        (np.ptp(activity.a, axis=-1) == 0).sum(axis=-1) if layer.activation is not None else None
        for layer, activity in zip(network.layers, activities, strict=True)
    ]
