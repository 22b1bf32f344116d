"""Logging in, by a key or by a link that works once, and logging out."""

from flask import redirect, render_template, request, url_for
from flask_wtf.csrf import ValidationError, validate_csrf
from werkzeug.wrappers import Response

from service.access import is_key
from service.browser_sessions import check_origin, log_in, log_out, session_project
from service.context import parts
from service.next_page import page_after_login
from service.problems import Problem
from worker.records.logins import use_login_token


def page() -> Response:
    asked, token = request.args.get("next"), request.args.get("token")
    # a HEAD comes from a program that previews the link, and must not use it up
    if token is None or request.method == "HEAD":
        return _form(asked) if session_project() is None else redirect(page_after_login(asked))
    if not parts().database.write(lambda records: use_login_token(records, token)):
        return _refuse(asked, "This link was used before or is more than a day old. Log in with your API key.")
    return _enter(asked)


def submit() -> Response:
    asked = request.form.get("next")
    # the access hook checks these for sessions only, and there is none yet
    check_origin()
    try:
        validate_csrf(request.form.get("csrf_token"))
    except ValidationError:
        return _form(asked, "This form has expired. Please send it again.", 400)
    if not is_key(parts().settings, request.form.get("key", "").strip()):
        return _refuse(asked, "That is not the key of this server. Check for missing characters.")
    return _enter(asked)


def leave() -> Response:
    log_out()
    return redirect(url_for("ui.login"), 303)


def _enter(asked: str | None) -> Response:
    log_in()
    return redirect(page_after_login(asked), 303)


def _refuse(asked: str | None, message: str) -> Response:
    """Count a failed login, and return the form with the reason."""
    try:
        parts().failed_keys.count(request.remote_addr)
    except Problem as problem:
        answer = _form(asked, f"{problem.detail.capitalize()}.", problem.status)
        answer.headers.update(problem.headers)
        return answer
    return _form(asked, message, 401)


def _form(asked: str | None, message: str | None = None, status: int = 200) -> Response:
    text = render_template("login.html", message=message, next=page_after_login(asked))
    return Response(text, status, {"Cache-Control": "no-store"}, mimetype="text/html")
