"""The answers that routes share: documented ones, and pages of lists."""

from typing import Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel

from service.conditional import conditional
from service.operations import Answer
from service.reply import Reply, answer
from service.request import request
from service.schemas.common import ProblemDocument


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


def page(data: list[dict[str, Any]], more: bool, *, by: str = "id", cursor: str | None = None) -> Reply:
    """Return one page of a list, with an ETag of its content, and a Link to the next page if there are more.

    by: the member of the last element that is the cursor.
    cursor: the cursor, if it is not of the last element.
    """
    if more and cursor is None:
        cursor = str(data[-1][by])
    reply = answer({"data": data, "has_more": more, "next_cursor": cursor})
    if cursor is not None:
        query = urlencode(request().args.to_dict() | {"cursor": cursor})
        reply.headers["Link"] = f'<{quote(request().path)}?{query}>; rel="next"'
    return conditional(reply)
