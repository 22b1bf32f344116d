"""Hints from a curve: training diverged, stalled or over-fitted, would gain from more epochs, or has dead units."""

from collections.abc import Sequence

from worker.records.points import Point

Hint = dict[str, str]

# fewer epochs do not show a trend
EPOCHS_TO_JUDGE = 5
NEXT_TO_NOTHING = 1e-6


def hints_of(points: Sequence[Point]) -> list[Hint]:
    """Return at most one hint of each kind. points: the curve, or some of its epochs in order, including the last."""
    if len(points) < EPOCHS_TO_JUDGE:
        return []
    over_fitted = _over_fitted(points)
    progress = _diverging(points) or _stalled(points) or (None if over_fitted else _unfinished(points))
    return [hint for hint in (progress, over_fitted, _dead(points)) if hint is not None]


def _diverging(points: Sequence[Point]) -> Hint | None:
    lowest = min(points, key=lambda point: _or_huge(point.train_loss))
    first, low, last = (_or_huge(point.train_loss) for point in (points[0], lowest, points[-1]))
    # since its lowest value, the loss has risen by at least half of what it had fallen
    if last <= low + abs(low) or last - low < 0.5 * (first - low):
        return None
    return _hint(
        "diverging",
        f"the training loss was lowest at epoch {lowest.epoch} ({low:.3g}) and has risen to {last:.3g} since: "
        "try a tenth of the learning rate, or clip_norm 1",
    )


def _stalled(points: Sequence[Point]) -> Hint | None:
    first, last = points[0].train_loss, points[-1].train_loss
    # a loss that is nearly 0 can't fall much
    if first is None or last is None or abs(first) < NEXT_TO_NOTHING or last < first - 0.02 * abs(first):
        return None
    return _hint(
        "stalled",
        f"the training loss has hardly moved since the first epoch ({first:.3g} to {last:.3g}): try ten times the "
        "learning rate, or a tenth; another initializer; or batch_norm",
    )


def _unfinished(points: Sequence[Point]) -> Hint | None:
    last = points[-1]
    before = next(point for point in reversed(points[:-1]) if point.epoch <= 0.8 * last.epoch or point is points[0])
    then, now = before.train_loss, last.train_loss
    if then is None or now is None or abs(then) < NEXT_TO_NOTHING or now > then - 0.1 * abs(then):
        return None
    return _hint(
        "unfinished",
        f"the training loss still fell from {then:.3g} to {now:.3g} since epoch {before.epoch}: train for longer",
    )


def _over_fitted(points: Sequence[Point]) -> Hint | None:
    measured = [point for point in points if point.validation_loss is not None]
    if not measured:
        return None
    best, last = min(measured, key=lambda point: _or_huge(point.validation_loss)), measured[-1]
    low, now = _or_huge(best.validation_loss), _or_huge(last.validation_loss)
    rose = now > low + max(0.1 * abs(low), NEXT_TO_NOTHING)
    if not rose or _or_huge(last.train_loss) > _or_huge(best.train_loss):
        return None
    return _hint(
        "over_fitting",
        f"the validation loss was lowest about epoch {best.epoch} ({low:.3g}) and has risen to {now:.3g} since, while "
        "the training loss fell: use early_stopping, dropout, l2 or adamw, or more rows",
    )


def _dead(points: Sequence[Point]) -> Hint | None:
    layers = next((point.layers for point in reversed(points) if point.layers), [])
    for n, layer in enumerate(layers[:-1]):
        units, dead = layer["units"], layer["dead_units"]
        if dead and units and dead >= units / 2:
            return _hint(
                "dead_units",
                f"{dead:g} of the {units} units of layer {n} give the same for every row: try a smaller learning rate, "
                "leaky_relu, or batch_norm",
            )
    return None


def _hint(code: str, message: str) -> Hint:
    return {"code": code, "message": message}


def _or_huge(value: float | None) -> float:
    """Return a figure, or infinity for None, which is how a figure that was not finite is recorded."""
    return float("inf") if value is None else value
