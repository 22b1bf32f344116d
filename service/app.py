"""The WSGI application: its routes, policies and error formats, and the parts that its process opens."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from flask_cors import CORS

from service.access import register_access
from service.api import (
    aliases,
    chain_rule,
    comparison,
    curves,
    datasets,
    events,
    exports,
    imports,
    insight,
    jobs,
    models,
    steps,
    submissions,
    system,
    versions,
)
from service.context import EXTENSION, Parts, register_request_ids
from service.live import Live
from service.open_inference import infer_body, infer_routes, server_routes
from service.open_inference.statistics import Statistics
from service.openapi import document
from service.operations import Operation, register_operations
from service.predict import routes as predict_routes
from service.predict import table_routes
from service.predict.addresses import Addresses
from service.predict.predictors import Predictors
from service.problems import ErrorFormat, register_problems
from service.scoring import routes as scoring_routes
from service.settings import ServiceSettings
from service.ui import pages
from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.errors import StartError
from worker.intake.datasets import Datasets
from worker.intake.submission import Intake
from worker.records.sessions import Database

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

EXPOSED = ["ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "X-Request-Id"]

RESOURCES = (
    submissions,
    jobs,
    curves,
    events,
    predict_routes,
    table_routes,
    chain_rule,
    insight,
    steps,
    datasets,
    models,
    versions,
    comparison,
    aliases,
    exports,
    imports,
    server_routes,
    infer_routes,
    scoring_routes,
    system,
)

ERROR_FORMATS: dict[str, ErrorFormat] = {"/v2": infer_body.write_error, "/models": scoring_routes.write_error}
"How other protocols write an error, by the prefix of their addresses."


def all_operations() -> list[Operation]:
    """Return every operation of the API, in the order of the OpenAPI document."""
    return [operation for resource in RESOURCES for operation in resource.operations.declared]


def create_app(settings: ServiceSettings) -> Flask:
    """Return the app of this process. Call it after the fork. Raises StartError if no API key is set."""
    if not settings.api_key.get_secret_value():
        raise StartError("set GRADMILL_API_KEY: the API answers no request without a key")
    app = Flask("service", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.body_bytes_limit,
        MAX_FORM_MEMORY_SIZE=settings.body_bytes_limit,
        MAX_FORM_PARTS=8,
        TRUSTED_HOSTS=settings.hosts,
    )
    app.wsgi_app = _measured(app.wsgi_app)  # type: ignore[assignment,method-assign]
    app.extensions[EXTENSION] = _open_parts(settings)
    app.extensions["gradmill.openapi"] = document(all_operations())
    register_request_ids(app)
    register_problems(app, ERROR_FORMATS)
    policies = register_operations(app, all_operations()) | pages.register(app)
    register_access(app, settings, policies)
    if settings.cors_origins:
        # another origin may send a key, but not the session cookie
        CORS(app, origins=list(settings.cors_origins), supports_credentials=False, expose_headers=EXPOSED)
    return app


def _measured(wsgi_app: "WSGIApplication") -> "WSGIApplication":
    """Wrap the app so that a body that is shorter than its Content-Length is refused (400): its client died meanwhile.

    gunicorn declares that it terminates the stream itself, which makes Werkzeug accept a body that was cut short.
    """

    def measured(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ.get("CONTENT_LENGTH"):
            environ.pop("wsgi.input_terminated", None)
        return wsgi_app(environ, start_response)

    return measured


def _open_parts(settings: ServiceSettings) -> Parts:
    database = Database(settings.database, pool_size=10)
    storage = Storage(settings.storage)
    datasets, doorbell = Datasets(database, storage, settings.limits), Doorbell(settings)
    predictors = Predictors(database, bytes_limit=settings.predictor_bytes_limit)
    return Parts(
        settings=settings,
        database=database,
        storage=storage,
        datasets=datasets,
        intake=Intake(database, datasets, settings.limits, doorbell.ring),
        doorbell=doorbell,
        live=Live(database, settings.redis_url, watchers_limit=settings.watchers_limit),
        predictors=predictors,
        addresses=Addresses(predictors),
        statistics=Statistics(),
    )
