"""A target as a client sends it -> what the loss compares with, by the encoders of the job."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from worker.backprop.arrays import Targets
from worker.data.encoders import ClassTarget, LabelsTarget, Target
from worker.errors import QuestionError

LARGEST = 1e300


def encode_target(given: Any, target: Target, pointer: str, *, counts: bool = False) -> Targets:
    """Of one row: a label (1,) of a category, or (1, outputs) numbers, standardised as training had them.

    counts: no number may be negative, since the loss is Poisson's. Raises QuestionError below the pointer.
    """
    if isinstance(target, ClassTarget):
        text = _text(given)
        if text not in target.classes:
            shown = ", ".join(target.classes[:10])
            raise QuestionError(pointer, f"must be a class of {target.name!r}; these are: {shown}")
        return np.array([target.classes.index(text)])
    values = [_number(value, pointer) for value in _by_column(given, target.names, pointer)]
    if isinstance(target, LabelsTarget):
        if not {0.0, 1.0}.issuperset(values):
            raise QuestionError(pointer, "must be 0 or 1 of each label")
        return np.array([values])
    if counts and min(values) < 0:
        raise QuestionError(pointer, "must be a count, 0 or more")
    return (np.array([values]) - target.means) / target.scales


def _by_column(given: Any, names: Sequence[str], pointer: str) -> list[Any]:
    """The values in the order of the target's columns."""
    if isinstance(given, dict):
        if set(given) != set(names):
            raise QuestionError(pointer, f"must have these members: {', '.join(names[:10])}")
        return [given[name] for name in names]
    values = given if isinstance(given, list) else [given]
    if len(values) != len(names):
        raise QuestionError(pointer, f"must be {len(names)} numbers, got {len(values)}")
    return values


def _number(value: Any, pointer: str) -> float:
    if type(value) not in (int, float) or abs(value) > LARGEST:
        raise QuestionError(pointer, "must be a number")
    return float(value)


def _text(given: Any) -> str | None:
    """A class as reading a table writes it: true, 3, 0.5."""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float) and given.is_integer():
        return str(int(given))
    return str(given) if isinstance(given, str | int | float) else None
