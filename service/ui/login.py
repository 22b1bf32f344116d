"""Logging in, by a key or by a link that works once, and logging out."""

from flask import redirect, render_template, request, session, url_for
from flask_wtf.csrf import ValidationError, validate_csrf
from werkzeug.wrappers import Response

from service.access import LOGGED_IN, is_key, log_in
from service.context import parts
from worker.records.logins import use_login_token


def page() -> Response:
    token = request.args.get("token")
    # a HEAD comes from a program that previews the link, and must not use it up
    if token is None or request.method == "HEAD":
        return redirect(url_for("ui.jobs")) if session.get(LOGGED_IN) else _form()
    if not parts().database.write(lambda records: use_login_token(records, token)):
        return _form("This link was used before or is more than a day old. Log in with your API key.", 401)
    return _enter()


def submit() -> Response:
    try:
        # the access hook checks this for sessions only, and there is none yet
        validate_csrf(request.form.get("csrf_token"))
    except ValidationError:
        return _form("This form has expired. Please send it again.", 400)
    if not is_key(parts().settings, request.form.get("key", "").strip()):
        return _form("That is not the key of this server. Check for missing characters.", 401)
    return _enter()


def leave() -> Response:
    session.clear()
    return redirect(url_for("ui.login"), 303)


def _enter() -> Response:
    log_in()
    return redirect(url_for("ui.jobs"), 303)


def _form(message: str | None = None, status: int = 200) -> Response:
    text = render_template("login.html", message=message)
    return Response(text, status, {"Cache-Control": "no-store"}, mimetype="text/html")
