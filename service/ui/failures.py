"""Exceptions under /ui -> an error page. (Those of the API become problem documents.)"""

from http import HTTPStatus

import structlog
from flask import Blueprint, g, render_template
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from service.problems import DETAILS, Problem
from worker.errors import NotFoundError, StateError, UnavailableError

log = structlog.get_logger()


def register_failures(ui: Blueprint) -> None:
    ui.register_error_handler(Exception, _failure)


def _failure(error: Exception) -> Response:
    status, detail = _status_and_detail(error)
    title = HTTPStatus(status).phrase
    text = render_template("error.html", status=status, title=title, detail=detail, request_id=g.get("request_id"))
    return Response(text, status, {"Cache-Control": "no-store"}, mimetype="text/html")


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
