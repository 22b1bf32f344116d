"""Exceptions under /ui -> an error page. (Those of the API become problem documents.)"""

from http import HTTPStatus
from typing import Any

import structlog
from flask import Blueprint, render_template
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from service.problems import DETAILS, RETRY_AFTER, Problem
from service.request import request_id
from worker.errors import NotFoundError, StateError, UnavailableError

log = structlog.get_logger()


def register_failures(ui: Blueprint) -> None:
    ui.register_error_handler(Exception, _failure)


def _failure(error: Exception) -> Response:
    status, detail = _status_and_detail(error)
    title = HTTPStatus(status).phrase
    shown: dict[str, Any] = {"status": status, "title": title, "detail": detail, "request_id": request_id()}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        # without the line above every page: it would need a connection, which may be what is lacking
        shown["worker_notice"] = str
    text = render_template("error.html", **shown)
    headers = {"Cache-Control": "no-store"} | _headers(error)
    return Response(text, status, headers, mimetype="text/html")


def _headers(error: Exception) -> dict[str, str]:
    if isinstance(error, Problem):
        return error.headers
    return RETRY_AFTER if isinstance(error, UnavailableError) else {}


def _status_and_detail(error: Exception) -> tuple[int, str]:
    if isinstance(error, NotFoundError):
        return 404, "There is nothing here by that name. It may have been deleted."
    if isinstance(error, StateError):
        return (429 if error.code == "queue_full" else 409), str(error)
    if isinstance(error, UnavailableError):
        return 503, str(error)
    if isinstance(error, Problem):
        return error.status, error.detail
    if isinstance(error, HTTPException) and error.code:
        return error.code, DETAILS.get(error.code, error.name)
    log.exception("internal_error", exc_info=error)
    return 500, "An error in gradmill; the log has it under this request's id."
