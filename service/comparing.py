"""Two versions side by side: their figures with differences, and where their specifications differ."""

from typing import Any

ASIDE = ("name", "tags", "metadata", "model")
"Members of a job's specification that change nothing of what is learnt."


def compare_figures(a: dict[str, Any], b: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """a, b: figures of each part (loss and metrics), or None. difference: b - a, None where one has no such figure."""
    compared: dict[str, dict[str, Any]] = {}
    for part, figures in a.items():
        ours, theirs = _flat(figures), _flat(b[part])
        compared[part] = {name: _pair(ours.get(name), theirs.get(name)) for name in dict.fromkeys([*ours, *theirs])}
    return compared


def _flat(part: dict[str, Any] | None) -> dict[str, Any]:
    return {} if part is None else {"loss": part["loss"]} | part["metrics"]


def _pair(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "difference": None if a is None or b is None else b - a}


def compare_specs(a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, Any]]:
    """The leaves that differ, by JSON Pointer; a side that lacks the member is left out."""
    ours, theirs = (_leaves({name: of[name] for name in of if name not in ASIDE}) for of in (a, b))
    differences = []
    for pointer in dict.fromkeys([*ours, *theirs]):
        sides = {side: leaves[pointer] for side, leaves in (("a", ours), ("b", theirs)) if pointer in leaves}
        if len(sides) == 1 or sides["a"] != sides["b"]:
            differences.append({"pointer": pointer} | sides)
    return differences


def _leaves(document: Any, pointer: str = "") -> dict[str, Any]:
    """The values at the ends of a document, by JSON Pointer (RFC 6901); empty objects and lists are ends too."""
    if isinstance(document, dict) and document:
        members = [(str(name).replace("~", "~0").replace("/", "~1"), value) for name, value in document.items()]
    elif isinstance(document, list) and document:
        members = [(str(n), value) for n, value in enumerate(document)]
    else:
        return {pointer: document}
    return {place: leaf for name, value in members for place, leaf in _leaves(value, f"{pointer}/{name}").items()}
