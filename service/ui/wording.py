"""Figures as people read them. static/format.js writes the same, so that a live figure does not change its look."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from worker.records.curves import Point

NONE = "–"  # noqa: RUF001 - a figure that is not there

ABBREVIATED = {"r2": "R²", "rmse": "RMSE", "mae": "MAE", "f1": "F1", "roc": "ROC", "auc": "AUC"}
FILTERS = ("number", "count", "percent", "duration", "instant", "metric_name", "capital")


def number(value: float | None) -> str:
    """Four significant digits, three of a very small or large figure: 0.2929, 61.52, 1,235, 2.10e-5."""
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
    """Rounded down: 100 % is said of the whole only."""
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
    """validation_r2 -> validation R²."""
    return " ".join(ABBREVIATED.get(word, word) for word in name.split("_"))


def capital(text: str) -> str:
    """With a capital first letter; Jinja's own filter lowers the others, as in R²."""
    return text[:1].upper() + text[1:]


def took(snapshot: dict[str, Any]) -> float | None:
    """Seconds from the start to the end, or to now."""
    if snapshot["started_at"] is None:
        return None
    end = snapshot["finished_at"]
    until = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return max(0.0, (until - datetime.fromisoformat(snapshot["started_at"])).total_seconds())


def headline_metric(latest: dict[str, Any] | None) -> tuple[str, float | None] | None:
    """The one metric that a list has room for."""
    metrics = (latest or {}).get("metrics") or {}
    name = next((name for name in metrics if name.startswith("validation_")), next(iter(metrics), None))
    return None if name is None else (name, metrics[name])


def curve_summary(points: Sequence[Point], best: dict[str, Any] | None) -> str:
    """What the loss chart shows, in one sentence. points: the first and the last epoch among them."""
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
        sentence += f"; best validation loss {number(best['validation_loss'])} at epoch {count(best['epoch'])}"
    return f"{sentence}."
