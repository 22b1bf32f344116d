"""The route that compares two versions of a model: their figures, and where their specifications differ."""

from typing import Any

from service.api.responses import NO_VERSION, tagged
from service.api.versions import brief_version
from service.conditional import conditional
from service.context import parts, project_id
from service.operations import Operations
from service.reply import Reply, answer
from service.schemas import models as schemas
from worker.errors import pointer_token
from worker.records.versions import get_version

operations = Operations("versions")

NOT_COMPARED = ("name", "tags", "metadata", "model")
"Members of a job's specification that do not affect what the network learns."


@operations.declare(
    "GET",
    "/v1/models/<name>/compare",
    policy="models:read",
    query=schemas.CompareQuery,
    answers=tagged("Both versions, and where they differ.", schemas.Comparison) | {404: NO_VERSION},
)
def compare(name: str, query: schemas.CompareQuery) -> Reply:
    """Compare two versions: figures side by side, and where their specifications differ."""
    with parts().database.reading() as session:
        a, b = (get_version(session, project_id(), name, version) for version in (query.a, query.b))
    shown = {"a": brief_version(a), "b": brief_version(b)}
    figures = compare_figures(shown["a"]["metrics"], shown["b"]["metrics"])
    specs = compare_specs(*(record.job.spec if record.job else {} for record in (a, b)))
    return conditional(answer(shown | {"metrics": figures, "spec": specs}))


def compare_figures(a: dict[str, Any], b: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each part's figures as pairs with their difference b - a; None if one side lacks the figure.

    a, b: the figures (loss and metrics) of each part, or None, by part.
    """
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
    """Return the leaves that differ, each with its JSON Pointer. A side that lacks the member is left out."""
    ours, theirs = (_leaves({name: of[name] for name in of if name not in NOT_COMPARED}) for of in (a, b))
    differences = []
    for pointer in dict.fromkeys([*ours, *theirs]):
        sides = {side: leaves[pointer] for side, leaves in (("a", ours), ("b", theirs)) if pointer in leaves}
        if len(sides) == 1 or sides["a"] != sides["b"]:
            differences.append({"pointer": pointer} | sides)
    return differences


def _leaves(document: Any, pointer: str = "") -> dict[str, Any]:
    """Return the document's leaves by JSON Pointer (RFC 6901). Empty objects and lists are leaves too."""
    if isinstance(document, dict) and document:
        members = [(pointer_token(name), value) for name, value in document.items()]
    elif isinstance(document, list) and document:
        members = [(str(n), value) for n, value in enumerate(document)]
    else:
        return {pointer: document}
    return {place: leaf for name, value in members for place, leaf in _leaves(value, f"{pointer}/{name}").items()}
