"""Exceptions -> application/problem+json (RFC 9457). The one place where HTTP learns of an error."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException

from worker.errors import (
    DataError,
    IdempotencyError,
    NotFoundError,
    QuestionError,
    SpecError,
    StateError,
    StorageFullError,
    UnavailableError,
    WeightsFileError,
)

log = structlog.get_logger()

TYPE = "https://gradmill.dev/problems/"
ERRORS_SHOWN = 20


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An answer that is not what was asked for. code: a short name for programs; errors: pointers into the body."""

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

    def response(self) -> Response:
        document = {
            "type": TYPE + self.code,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": g.get("request_id"),
            "code": self.code,
        }
        if self.errors:
            document["errors"] = list(self.errors[:ERRORS_SHOWN])
        return Response(
            orjson.dumps(document | self.members),
            self.status,
            {"Cache-Control": "no-store"} | self.headers,
            content_type="application/problem+json",
        )


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
    413: "the body is larger than the limit",
}

RETRY_AFTER = {"Retry-After": "2"}


def of_data(error: DataError) -> Problem:
    """A fault in rows: a pointer into the body's rows where there is one, and the place as row and column."""
    pointer = "" if error.row is None else f"/rows/{error.row}"
    found: dict[str, Any] = {"pointer": pointer, "detail": error.detail}
    found |= {name: value for name, value in (("row", error.row), ("column", error.column)) if value is not None}
    return Problem(422, "the rows can't be used as they are", errors=[found])


def _of_spec(error: SpecError) -> Problem:
    errors = [{"pointer": error.pointer, "detail": error.detail}]
    return Problem(422, "the specification can't be built", errors=errors)


def _of_weights_file(error: WeightsFileError) -> Problem:
    return Problem(422, "the file can't be imported", errors=[{"pointer": "", "detail": str(error)}])


def _of_question(error: QuestionError) -> Problem:
    errors = [{"pointer": error.pointer, "detail": error.detail}]
    return Problem(422, "the question can't be answered as it stands", code=error.code, errors=errors)


def _of_state(error: StateError) -> Problem:
    if error.code == "queue_full":
        return Problem(429, str(error), code=error.code, headers={"Retry-After": "30"})
    return Problem(409, str(error), code=error.code)


def _of_unavailable(error: UnavailableError) -> Problem:
    log.warning("unavailable", error=str(error))
    return Problem(503, str(error), headers=RETRY_AFTER)


def _of_http(error: HTTPException) -> Problem:
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
    return Problem(status, DETAILS.get(status, error.name.lower()), headers=headers)


def _of_anything(_error: Exception) -> Problem:
    log.exception("internal_error")
    return Problem(500, "an error of ours; the log has it under this request's id")


TRANSLATIONS: dict[type[Exception], Callable[[Any], Problem]] = {
    Problem: lambda problem: problem,
    SpecError: _of_spec,
    QuestionError: _of_question,
    DataError: of_data,
    WeightsFileError: _of_weights_file,
    # the same bytes for a foreign, a deleted and an unknown id
    NotFoundError: lambda _error: Problem(404, DETAILS[404]),
    StateError: _of_state,
    IdempotencyError: lambda error: Problem(422, str(error), code="idempotency_key_reused"),
    UnavailableError: _of_unavailable,
    StorageFullError: lambda error: Problem(507, str(error), headers={"Retry-After": "60"}),
    HTTPException: _of_http,
    Exception: _of_anything,
}


def register_problems(app: Flask, tell: Callable[[Problem], Response]) -> None:
    """tell: makes the answer, in the dialect of the request's address."""
    for kind, translate in TRANSLATIONS.items():
        app.register_error_handler(kind, _handler(translate, tell))


def _handler(
    translate: Callable[[Any], Problem], tell: Callable[[Problem], Response]
) -> Callable[[Exception], Response]:
    return lambda error: tell(translate(error))
