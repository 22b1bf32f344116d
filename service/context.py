"""The context of a request: the parts that the app has opened, the caller, and an id for the logs."""

import re
from dataclasses import dataclass
from typing import cast

import structlog
import uuid_utils
from flask import Flask, Response, current_app, g, request

from service.failed_keys import FailedKeys
from service.live import Live
from service.open_inference.statistics import Statistics
from service.predict.addresses import Addresses
from service.predict.predictors import Predictors
from service.settings import ServiceSettings
from service.shares import Share
from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.intake.objects import UnknownCount
from worker.intake.submission import Intake
from worker.records.sessions import Database
from worker.sandbox import Sandbox

REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
EXTENSION = "gradmill"


@dataclass(frozen=True)
class Parts:
    """The parts that one process opens once and all its requests share."""

    settings: ServiceSettings
    database: Database
    storage: Storage
    sandbox: Sandbox
    unknown_count: UnknownCount
    datasets: Datasets
    intake: Intake
    doorbell: Doorbell
    live: Live
    predictors: Predictors
    addresses: Addresses
    statistics: Statistics
    failed_keys: FailedKeys
    lists_share: Share


@dataclass(frozen=True)
class Principal:
    """The caller. by_cookie: whether it is logged in on the dashboard, so that a change also needs a CSRF token."""

    project_id: str
    scopes: frozenset[str]
    by_cookie: bool


def parts() -> Parts:
    """Return the parts of the app that serves this request."""
    return cast(Parts, current_app.extensions[EXTENSION])


def project_id() -> str:
    """Return the project that the caller's key belongs to. Every read and write stays within it."""
    return cast(Principal, g.principal).project_id


def caller() -> str:
    """Return who made a change, for a history. As there is only one key, this says how: by `key` or `dashboard`."""
    return "dashboard" if cast(Principal, g.principal).by_cookie else "key"


def register_request_ids(app: Flask) -> None:
    """Take an X-Request-Id from each request or make one, return it, and bind it to every log line of the request."""

    @app.before_request
    def begin() -> None:
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if REQUEST_ID.fullmatch(given) else uuid_utils.uuid7().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.get("request_id", "")
        return response
