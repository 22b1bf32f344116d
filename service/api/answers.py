"""What the routes share: documented answers, pages of lists, and a job's links."""

from typing import Any

from flask import Response, request, url_for

from service.operations import Answer, answer, conditional
from service.schemas.common import ProblemDocument
from worker.records.snapshots import Snapshot

PROBLEM = ("application/problem+json",)
NOT_FOUND = Answer("No such job.", ProblemDocument, PROBLEM)
CONFLICT = Answer("The job's state has no such change.", ProblemDocument, PROBLEM)
INVALID = Answer("The body does not fit; `errors` point at the members.", ProblemDocument, PROBLEM)
NOT_MODIFIED = Answer("Unchanged since the given ETag.", None, ())


def page(data: list[dict[str, Any]], more: bool, *, by: str = "id") -> Response:
    """A page of a list, with a Link to the next and an ETag of its content. by: the member that is the cursor."""
    cursor = str(data[-1][by]) if more else None
    response = answer({"data": data, "has_more": more, "next_cursor": cursor})
    if cursor is not None:
        arguments = (request.view_args or {}) | request.args.to_dict() | {"cursor": cursor}
        response.headers["Link"] = f'<{url_for(request.endpoint or "", **arguments)}>; rel="next"'
    return conditional(response)


def with_links(snapshot: Snapshot) -> Snapshot:
    """The job with the addresses of what belongs to it."""
    own = f"/v1/jobs/{snapshot['id']}"
    names = ("curve", "events", "predict", "weights", "evaluation", "chain-rule", "certificate", "histograms", "steps")
    links = (
        {"self": own}
        | {name.replace("-", "_"): f"{own}/{name}" for name in names}
        | {"page": f"/ui/jobs/{snapshot['id']}"}
    )
    return snapshot | {"links": links}
