"""The chain rule of a real network, factor by factor, for one weight: what the whole of this project is named after.

    dL/dw_ij = dL/da_j x da_j/dz_j x dz_j/dw_ij        w_new = w_old - eta dL/dw_ij

Everything is computed in float64 from the record, and nothing is trained again. A batch's gradient is the mean of its
rows' products. It is checked against a central finite difference of the loss, which knows nothing of the chain rule.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Floats, Targets
from worker.insight.address import Address, Place, find
from worker.insight.checking import check
from worker.insight.factors import Factors, factors_of
from worker.insight.next_step import next_step
from worker.insight.output import Output
from worker.insight.passes import Passes
from worker.insight.subject import Subject, describe
from worker.insight.trace import Step
from worker.insight.wording import loss_units, notes_of

Document = dict[str, Any]


def chain_rule(
    subject: Subject, address: Address, x: Floats, y: Targets, rows: Sequence[int] | None = None
) -> Document:
    """The answer, in JSON's values. rows: the names of the rows of a batch; None for a single row.

    Raises QuestionError where there is no such weight, or where the loss is not finite.
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
        "loss_units": loss_units(subject.task),
        "layers": None if rows is not None else _layers(subject.layers, passes.steps),
        "output": None if rows is not None else _output(passes.output),
        "weight": weight,
        "notes": notes_of(subject, place, many=rows is not None),
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
    """Of a batch every row's own factors; its share is what it adds to the mean."""
    each = [
        {"row": row, "loss": float(loss)}
        | _numbers(one)
        | {"product": one.product, "share": one.product / len(factors)}
        for row, loss, one in zip(rows, passes.losses, factors, strict=True)
    ]
    return {"a_of": None, "rows": each, "dL_da": None, "da_dz": None, "dL_dz": None, "dz_dw": None}


def _layers(layers: Sequence[Any], steps: Sequence[Step]) -> list[Document]:
    """Of a single row: z, a and the loss's derivatives in them, a list a layer."""
    return [
        {"type": layer.type, "activation": getattr(layer, "activation", None)}
        | {name: getattr(step, name)[:, 0].tolist() for name in ("z", "a", "grad_a", "grad_z")}
        | {"layers": _layers(layer.layers, step.inner) if step.inner else None}
        for layer, step in zip(layers, steps, strict=True)
    ]


def _output(output: Output) -> Document:
    """Where the backward pass starts. Of a fused loss dL_dz is its short form; the long product is there to compare."""
    short, long = output.grad_z[:, 0], output.long[:, 0]
    return {
        "y": output.y[:, 0].tolist(),
        "dL_da": output.grad_a[:, 0].tolist(),
        "long_product": long.tolist(),
        "dL_dz": short.tolist(),
        "fused": output.fused,
        "largest_difference": float(np.abs(long - short).max()),
    }


def _plain(factor: Any) -> Any:
    return factor.tolist() if isinstance(factor, np.ndarray) else factor
