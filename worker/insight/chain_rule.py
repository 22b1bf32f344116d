"""The chain rule of a real network, factor by factor, for one weight. The project is named after it.

    dL/dw_ij = dL/da_j x da_j/dz_j x dz_j/dw_ij        w_new = w_old - eta dL/dw_ij

Everything is computed in float64 from the recorded weights; nothing is trained again. A batch's gradient is the mean of
its rows' products. It is checked against a central finite difference of the loss, which uses no chain rule.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.backprop.layers.layer import Step
from worker.data.encoders import CategoricalCode
from worker.insight.address import Address, Place, find
from worker.insight.checking import check
from worker.insight.factors import Factors, factors_of
from worker.insight.next_step import next_step
from worker.insight.passes import Output, Passes
from worker.insight.subject import Subject, describe
from worker.networks.task import Task
from worker.networks.training import make_optimizer
from worker.specs.network import InnerLayer, ResidualLayer, ResolvedEmbedding, ResolvedLayer

Document = dict[str, Any]


def chain_rule(
    subject: Subject, address: Address, x: Floats, y: Targets, rows: Sequence[int] | None = None
) -> Document:
    """Return the answer, as JSON values. Derivatives are in units of the loss, which `loss_units` names.

    x: (rows, inputs), encoded.
    y: the targets as the objective takes them: labels (rows,), or numbers (rows, outputs), standardised as in training.
    rows: the numbers by which the answer names the rows of a batch; None for a question about a single row.
    Raises QuestionError if the network has no such weight, or if the loss is not finite.
    """
    place = find(subject.network, address)
    passes = Passes(subject, x, y)
    factors = [factors_of(place, passes.steps, n) for n in range(len(x))]
    gradient = float(np.mean([each.product for each in factors]))
    weight = (
        _place(place, subject)
        | (_one(factors[0], address) if rows is None else _many(factors, passes, rows))
        | {"gradient": gradient}
        | check(subject, place, x, y, gradient)
        | next_step(subject, place, passes, gradient)
    )
    return describe(subject) | {
        "loss": float(passes.losses.mean()),
        "loss_units": _loss_units(subject.task),
        "layers": None if rows is not None else _layers(subject.layers, passes.steps),
        "output": None if rows is not None else _output(passes.output),
        "weight": weight,
        "notes": _notes(subject, place, many=rows is not None),
    }


def _place(place: Place, subject: Subject) -> Document:
    address = place.address
    return {
        "layer": address.layer,
        "inner": address.inner,
        "from": address.source,
        "to": address.to,
        "name": place.name,
        "index": list(place.index),
        "value": float(place.array(subject.parameters.views)[place.index]),
    }


def _one(factors: Factors, address: Address) -> Document:
    """Return the factors of a single row, and the layer that the a in them belongs to."""
    of = (address.layer, address.inner)
    if factors.offset:
        of = (address.layer + 1, None) if address.inner is None else (address.layer, address.inner + 1)
    return {"a_of": {"layer": of[0], "inner": of[1]}, "rows": None} | _numbers(factors)


def _numbers(factors: Factors) -> Document:
    return {
        "dL_da": _plain(factors.dL_da),
        "da_dz": _plain(factors.da_dz),
        "dL_dz": factors.dL_dz,
        "dz_dw": factors.dz_dw,
    }


def _many(factors: Sequence[Factors], passes: Passes, rows: Sequence[int]) -> Document:
    """Return each row's own factors, and its share: what it adds to the mean."""
    each = [
        {"row": row, "loss": float(loss)}
        | _numbers(one)
        | {"product": one.product, "share": one.product / len(factors)}
        for row, loss, one in zip(rows, passes.losses, factors, strict=True)
    ]
    return {"a_of": None, "rows": each, "dL_da": None, "da_dz": None, "dL_dz": None, "dz_dw": None}


def _layers(layers: Sequence[ResolvedLayer | InnerLayer], steps: Sequence[Step]) -> list[Document]:
    """Return z, a and the loss's derivatives in them for a single row: one list for each layer."""
    return [
        {"type": layer.type, "activation": step.layer.activation and step.layer.activation.name}
        | {name: values[:, 0].tolist() for name, values in _values(step).items()}
        | {"layers": _layers(layer.layers, step.inner) if isinstance(layer, ResidualLayer) else None}
        for layer, step in zip(layers, steps, strict=True)
    ]


def _values(step: Step) -> dict[str, Floats]:
    return {"z": step.z, "a": step.a, "grad_a": step.grad_a, "grad_z": step.grad_z}


def _output(output: Output) -> Document:
    """Return the start of the backward pass. Training uses dL_dz; the long product is there for comparison."""
    short, long = output.grad_z[:, 0], output.long[:, 0]
    return {
        "y": output.y[:, 0].tolist(),
        "dL_da": output.grad_a[:, 0].tolist(),
        "long_product": long.tolist(),
        "dL_dz": short.tolist(),
        "fused": output.fused,
        "largest_difference": float(np.abs(long - short).max()),
    }


def _plain(factor: float | Floats) -> Any:
    return factor.tolist() if isinstance(factor, np.ndarray) else factor


def _loss_units(task: Task) -> str:
    """Return the units of the loss, in words."""
    if task.standardised:
        return "of the target standardised as in training, (value - mean) / scale"
    return task.objective.units


def _notes(subject: Subject, place: Place, *, many: bool) -> list[str]:
    """Return notes on what a reader might wrongly assume about the answer."""
    training, layers = subject.spec.training, subject.network.layers
    every = [inner.training_note for layer in layers for inner in (layer, *layer.layers)]
    notes = [note for note in dict.fromkeys(every) if note is not None]
    if subject.spec.weight is not None or subject.task.class_weights is not None:
        notes.append("every row counts as 1; in training a row's product is multiplied by its weight")
    if training.l1 or training.l2:
        notes.append("loss and gradient are without the penalties, whose gradient is shown separately")
    if training.accumulate > 1:
        notes.append(f"in training {training.accumulate} batches make one step")
    has_state = bool(make_optimizer(training.optimizer)(np.zeros(1), np.zeros(1)).slots)
    if subject.moment.kind != "checkpoint" and has_state:
        notes.append("no optimizer state is stored for these weights: the update is a first step, from zeros")
    if training.members > 1:
        notes.append(f"this is member {subject.member} of {training.members}; each has a loss of its own")
    layer = subject.layers[place.address.layer]
    if isinstance(layer, ResolvedEmbedding):
        notes.append(_category(subject, layer, place))
    if many:
        notes.append("gradient is the mean of the rows' products, the sum of their shares")
    return notes


def _category(subject: Subject, layer: ResolvedEmbedding, place: Place) -> str:
    """Return a sentence that names the category of an embedding's row."""
    code = next(code for code in subject.encoders.features if code.name == layer.column)
    assert isinstance(code, CategoricalCode)  # noqa: S101 - an embedding is resolved for a category only
    (number, _) = place.index
    name = repr(code.categories[number]) if number < len(code.categories) else "a missing cell"
    return f"category {number} of column {layer.column!r} is {name}"
