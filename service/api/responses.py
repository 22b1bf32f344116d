"""The answers that routes share: documented ones, pages of lists, and a job's links."""

from typing import Any

from flask import Response, request, url_for
from pydantic import BaseModel

from service.operations import Answer, answer, conditional
from service.schemas.common import ProblemDocument
from worker.records.snapshots import Snapshot


def problem(description: str) -> Answer:
    """Return the documentation of an answer that is a problem document."""
    return Answer(description, ProblemDocument, ("application/problem+json",))


NOT_FOUND = problem("No such job.")
NO_MODEL = problem("No such model.")
NO_VERSION = problem("No such model, or no such version or alias of it.")
CONFLICT = problem("The job's state does not allow this.")
INVALID = problem("The body is not valid; `errors` point at its members.")
NO_ROOM = problem("There is no room left for uploads.")
NOT_MODIFIED = Answer("Unchanged since the given ETag.", None, ())


def tagged(description: str, model: type[BaseModel]) -> dict[int, Answer]:
    """Return the documentation of a GET that has an ETag: 200, and 304 if the caller already has the content."""
    return {200: Answer(description, model, headers={"ETag": ""}), 304: NOT_MODIFIED}


def gone(description: str) -> Answer:
    """Return the documentation of a successful DELETE."""
    return Answer(description, None, ())


def page(data: list[dict[str, Any]], more: bool, *, by: str = "id", cursor: str | None = None) -> Response:
    """Return one page of a list, with an ETag of its content, and a Link to the next page if there are more.

    by: the member of the last element that is the cursor.
    cursor: the cursor, if it is not of the last element.
    """
    if more and cursor is None:
        cursor = str(data[-1][by])
    response = answer({"data": data, "has_more": more, "next_cursor": cursor})
    if cursor is not None:
        arguments = (request.view_args or {}) | request.args.to_dict() | {"cursor": cursor}
        response.headers["Link"] = f'<{url_for(request.endpoint or "", **arguments)}>; rel="next"'
    return conditional(response)


def with_links(snapshot: Snapshot) -> Snapshot:
    """Return the job with links to everything that belongs to it."""
    own = f"/v1/jobs/{snapshot['id']}"
    names = ("curve", "events", "predict", "weights", "evaluation", "chain-rule", "certificate", "histograms", "steps")
    links = (
        {"self": own}
        | {name.replace("-", "_"): f"{own}/{name}" for name in names}
        | {"page": f"/ui/jobs/{snapshot['id']}"}
    )
    return snapshot | {"links": links}
