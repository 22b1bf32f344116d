"""The routes of the pages, in one table, each with its access policy."""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

from flask import Blueprint, Flask, abort, redirect, url_for
from werkzeug.wrappers import Response

from service.access import OPEN, SESSION
from service.api.system import workers_state
from service.browser_sessions import csrf_token
from service.context import parts
from service.request import request
from service.ui import assets, docs, job, jobs, login, wording
from service.ui.failures import register_failures
from worker.errors import UnavailableError

NO_WORKER = "No worker is running: jobs, and predictions of whole tables, wait for one. Other predictions still work."


class Route(NamedTuple):
    """One page. heavy: whether it may read many rows, as in `operations.Operation`."""

    method: str
    path: str
    view: Callable[..., Response]
    policy: str
    name: str
    heavy: bool = False


def worker_notice() -> str:
    """Return the line above every page while no worker is alive; "" if one is, and on pages before the login."""
    if request().principal is None:
        return ""
    try:
        return NO_WORKER if workers_state() == "none" else ""
    except UnavailableError:
        # the page itself says that the database is away
        return ""


def home() -> Response:
    return redirect(url_for("ui.jobs"))


def missing(path: str) -> Response:  # noqa: ARG001 - Flask passes it
    """Answer any other address under /ui with an error page, not with a JSON document."""
    abort(404)


ROUTES = (
    # the first three are open because they show nothing: the page that they redirect to needs a session
    Route("GET", "/", home, OPEN, "root"),
    Route("GET", "/ui", home, OPEN, "home"),
    Route("GET", "/ui/", home, OPEN, "home_slash"),
    Route("GET", "/ui/static/<version>/<path:name>", assets.asset, OPEN, "asset"),
    Route("GET", "/ui/login", login.page, OPEN, "login"),
    Route("POST", "/ui/login", login.submit, OPEN, "submit_login"),
    Route("POST", "/ui/logout", login.leave, SESSION, "logout"),
    Route("GET", "/ui/jobs", jobs.page, SESSION, "jobs", heavy=True),
    Route("GET", "/ui/jobs/rows", jobs.rows, SESSION, "job_rows", heavy=True),
    Route("POST", "/ui/jobs/example", jobs.train_example, "jobs:write", "train_example"),
    Route("GET", "/ui/jobs/<job_id>", job.page, SESSION, "job", heavy=True),
    Route("GET", "/ui/jobs/<job_id>/curve.csv", job.curve_file, SESSION, "curve_csv", heavy=True),
    Route("POST", "/ui/jobs/<job_id>/<any(cancel, pause, resume):change>", job.change, "jobs:write", "change_job"),
    Route("GET", "/docs", docs.page, SESSION, "docs"),
    Route("GET", "/ui/<path:path>", missing, SESSION, "missing"),
)


def _view(route: Route) -> Callable[..., Response]:
    if not route.heavy:
        return route.view

    @wraps(route.view)
    def view(**arguments: str) -> Response:
        with parts().lists_share.turn():
            return route.view(**arguments)

    return view


def register(app: Flask) -> dict[str, str]:
    """Add the pages to the app, and return their policies by endpoint."""
    ui = Blueprint("ui", __name__, template_folder="templates")
    for route in ROUTES:
        ui.add_url_rule(route.path, route.name, _view(route), methods=[route.method])
    version = assets.content_version()
    ui.context_processor(
        lambda: {"asset": assets.addresses(version), "csrf_token": csrf_token, "worker_notice": worker_notice}
    )
    for name in wording.FILTERS:
        ui.add_app_template_filter(getattr(wording, name), name)
    register_failures(ui)
    app.config["UI_VERSION"] = version
    app.register_blueprint(ui)
    return {f"ui.{route.name}": route.policy for route in ROUTES}
