"""Exceptions -> HTTP answers: problem documents (RFC 9457), or at some addresses errors in another protocol's form."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from werkzeug.exceptions import HTTPException

from service.reply import Reply
from service.request import request_id
from worker.errors import (
    DataError,
    IdempotencyError,
    MissingBytesError,
    NotFoundError,
    QuestionError,
    SpecError,
    StateError,
    StorageFullError,
    TableSizeError,
    UnavailableError,
    UnsafeFileError,
    WeightsFileError,
)

log = structlog.get_logger()

TYPE = "https://gradmill.dev/problems/"
ERRORS_SHOWN = 20


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An HTTP error.

    code: a short name for programs.
    errors: the faults and their places, as in the schema `Fault`.
    members: more members of the document.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[dict[str, Any]] = (),
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.members = status, detail, errors, members
        self.code = code or CODES.get(status, "error")
        self.headers = headers or {}

    @property
    def sentence(self) -> str:
        """The detail and the first fault with its place, for protocols whose errors are a single text."""
        if not self.errors:
            return self.detail
        fault = self.errors[0]
        cell = [f"{name} {fault[name]!r}" for name in ("row", "column") if name in fault]
        place = ", ".join(cell) or fault.get("pointer") or fault.get("parameter")
        return f"{self.detail}: {place} {fault['detail']}" if place else f"{self.detail}: {fault['detail']}"

    def reply(self) -> Reply:
        """Return the problem document."""
        document = {
            "type": TYPE + self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": request_id(),
            "code": self.code,
        }
        if self.errors:
            document["errors"] = list(self.errors[:ERRORS_SHOWN])
        return self._reply(self.status, orjson.dumps(document | self.members), "application/problem+json")

    def foreign_reply(self, body: bytes, content_type: str) -> Reply:
        """Return the error in another protocol's form. Those protocols have no 422, so it becomes 400."""
        return self._reply(400 if self.status == 422 else self.status, body, content_type)

    def _reply(self, status: int, body: bytes, content_type: str) -> Reply:
        return Reply(body, status, content_type, {"Cache-Control": "no-store"} | self.headers)


CODES = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "timeout",
    409: "conflict",
    411: "length_required",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
    507: "insufficient_storage",
}

DETAILS = {
    400: "the request can't be understood",
    404: "there is nothing here by that name",
    405: "this address has no such method",
    412: "the content no longer has the ETag that If-Match names",
    # a body past its limit is refused with that limit, by body_stream
    413: "the form has too many parts, or one that is too large",
}

RETRY_AFTER = {"Retry-After": "2"}


def invalid_body(faults: Sequence[dict[str, Any]]) -> Problem:
    """Return the problem for a body that can be read but is not valid. faults: each with its `pointer`."""
    return Problem(422, "the body is not what this address takes", errors=faults)


def invalid_parameter(faults: Sequence[dict[str, Any]]) -> Problem:
    """Return the problem for a query string that is not valid. faults: each with its `parameter`."""
    return Problem(422, "a parameter is not what this address takes", errors=faults)


def table_fault(pointer: str, error: DataError) -> dict[str, Any]:
    """Return a fault in rows or columns, with its row and column if they are known."""
    place = (("row", error.row), ("column", error.column))
    return {"pointer": pointer, "detail": error.detail} | {name: value for name, value in place if value is not None}


def _data_problem(error: DataError) -> Problem:
    pointer = "" if error.row is None else f"/rows/{error.row}"
    return Problem(422, "the rows can't be used as they are", errors=[table_fault(pointer, error)])


def _spec_problem(error: SpecError) -> Problem:
    errors = [{"pointer": error.pointer, "detail": error.detail}]
    return Problem(422, "the specification can't be built", errors=errors)


def _weights_file_problem(error: WeightsFileError) -> Problem:
    return Problem(422, "the file can't be imported", errors=[{"pointer": "", "detail": str(error)}])


def _question_problem(error: QuestionError) -> Problem:
    errors = [{"pointer": error.pointer, "detail": error.detail}]
    return Problem(422, "the question can't be answered in this form", code=error.code, errors=errors)


def _state_problem(error: StateError) -> Problem:
    if error.code == "queue_full":
        return Problem(429, str(error), code=error.code, headers={"Retry-After": "30"})
    return Problem(409, str(error), code=error.code)


def _unavailable_problem(error: UnavailableError) -> Problem:
    log.warning("unavailable", error=str(error))
    return Problem(503, str(error), headers=RETRY_AFTER)


def _http_problem(error: HTTPException) -> Problem:
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return Problem(status, DETAILS.get(status, error.name.lower()), headers=headers)


def _internal_problem(error: Exception) -> Problem:
    log.exception("internal_error", exc_info=error)
    return Problem(500, "an internal error; the log has its details under this request's id")


def _missing_bytes_problem(error: MissingBytesError) -> Problem:
    log.error("storage_missing", key=error.key)
    detail = f"the bytes of {error.key} are not in this server's storage; its operator must share one with all servers"
    return Problem(503, detail, code="storage_missing", headers={"Retry-After": "60"})


TRANSLATIONS: dict[type[Exception], Callable[[Any], Problem]] = {
    Problem: lambda problem: problem,
    SpecError: _spec_problem,
    QuestionError: _question_problem,
    DataError: _data_problem,
    TableSizeError: lambda error: Problem(413, str(error)),
    UnsafeFileError: lambda error: Problem(422, str(error), code="unsafe_file"),
    WeightsFileError: _weights_file_problem,
    # the answer is the same for an unknown id, a deleted one, and another project's
    NotFoundError: lambda _error: Problem(404, DETAILS[404]),
    StateError: _state_problem,
    IdempotencyError: lambda error: Problem(422, str(error), code="idempotency_key_reused"),
    UnavailableError: _unavailable_problem,
    StorageFullError: lambda error: Problem(507, str(error), headers={"Retry-After": "60"}),
    MissingBytesError: _missing_bytes_problem,
    HTTPException: _http_problem,
    Exception: _internal_problem,
}

ErrorFormat = Callable[[Problem], Reply]


def problem_of(error: Exception) -> Problem:
    """Return the problem that this exception means to a client. One that is not foreseen is logged, and is a 500."""
    kinds = (kind for kind in type(error).__mro__ if kind in TRANSLATIONS)
    return TRANSLATIONS[next(kinds)](error)


def error_reply(error: Exception, path: str, formats: Mapping[str, ErrorFormat]) -> Reply:
    """Return the reply for an exception at this path.

    formats: how other protocols write their errors, by the prefix of their addresses.
    """
    problem = problem_of(error)
    for prefix, write in formats.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return write(problem)
    return problem.reply()
