"""Formats figures for people to read. static/format.js does the same, so that live figures do not change their look."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from worker.records.points import Point

NONE = "–"  # noqa: RUF001 - a figure that does not exist

ABBREVIATED = {"r2": "R²", "rmse": "RMSE", "mae": "MAE", "f1": "F1", "roc": "ROC", "auc": "AUC"}
CURVE_LABELS: dict[str, str | None] = {
    "epoch": "Epoch",
    "train_loss": "Train loss",
    "validation_loss": "Validation loss",
    "learning_rate": None,
    "gradient_norm": None,
    "seconds": None,
}
"The label of each figure of a curve in the page's table; None if the table leaves it out."
TABLE_COLUMNS = {name: label for name, label in CURVE_LABELS.items() if label is not None}

FILTERS = ("number", "count", "percent", "duration", "instant", "metric_name", "capital")


def number(value: float | None) -> str:
    """Write four significant digits, or three for a very small or large figure: 0.2929, 61.52, 1,235, 2.10e-5."""
    if value is None:
        return NONE
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6 or size < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:#.4g}".rstrip(".")


def count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"


def percent(fraction: float) -> str:
    """Write a percentage, rounded down, so that only the whole is 100 %."""
    return f"{int(fraction * 100)} %"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 10:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def instant(rfc3339: str | None) -> str:
    return NONE if rfc3339 is None else f"{rfc3339[:10]} {rfc3339[11:19]} UTC"


def metric_name(name: str) -> str:
    """Write a metric's name in words: validation_r2 becomes validation R²."""
    return " ".join(ABBREVIATED.get(word, word) for word in name.split("_"))


def capital(text: str) -> str:
    """Make the first letter a capital. Jinja's own filter also makes the others lower case, as in R²."""
    return text[:1].upper() + text[1:]


def took(snapshot: dict[str, Any]) -> float | None:
    """Return the seconds from a job's start to its end, or to now; None if it has not started."""
    if snapshot["started_at"] is None:
        return None
    end = snapshot["finished_at"]
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return max(0.0, (until - datetime.fromisoformat(snapshot["started_at"])).total_seconds())


def headline_metric(latest: dict[str, Any] | None) -> tuple[str, float | None] | None:
    """Return the name and value of the one metric that a list has room for: a validation metric if there is one."""
    metrics = (latest or {}).get("metrics") or {}
    name = next((name for name in metrics if name.startswith("validation_")), next(iter(metrics), None))
    return None if name is None else (name, metrics[name])


def curve_summary(points: Sequence[Point], best: dict[str, Any] | None) -> str:
    """Return one sentence that says what the loss chart shows.

    points: the curve in order; its first and last epoch are enough.
    best: the summary of the job's best epoch.
    """
    if not points:
        return "No epoch has ended."
    first, last = points[0], points[-1]
    if first.epoch == last.epoch:
        return f"Train loss is {number(first.train_loss)} after epoch {count(first.epoch)}."
    falls = (last.train_loss or 0) < (first.train_loss or 0)
    sentence = (
        f"Train loss {'fell' if falls else 'went'} from {number(first.train_loss)} to {number(last.train_loss)}"
        f" in {count(last.epoch)} epochs"
    )
    if best and best.get("validation_loss") is not None:
        loss = number(best["validation_loss"])
        sentence += f"; the best epoch is {count(best['epoch'])}, with a validation loss of {loss}"
    return f"{sentence}."
