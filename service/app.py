"""The WSGI application: its routes, policies and error formats, and the parts that its process opens."""

from functools import cache
from typing import Any

from flask import Flask
from flask_cors import CORS
from werkzeug.middleware.proxy_fix import ProxyFix

from service.access import register_access
from service.api import (
    aliases,
    chain_rule,
    comparison,
    curves,
    datasets,
    events,
    exports,
    held_out,
    imports,
    insight,
    jobs,
    models,
    steps,
    submissions,
    system,
    versions,
)
from service.body_stream import BoundedRequest
from service.context import EXTENSION, Parts
from service.failed_keys import FailedKeys
from service.flask_front import register_operations, register_problems, register_requests
from service.live import Live
from service.loop import leave_loop
from service.open_inference import infer_body, infer_routes, server_routes
from service.open_inference.statistics import Statistics
from service.openapi import document
from service.operations import Operation
from service.predict import routes as predict_routes
from service.predict import table_routes
from service.predict.addresses import Addresses
from service.predict.predictors import Predictors
from service.problems import ErrorFormat
from service.scoring import routes as scoring_routes
from service.settings import ServiceSettings
from service.shares import share_of
from service.starting import check_exposure, check_key
from service.ui import pages
from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.intake.objects import UnknownCount
from worker.intake.parsers import PRELOADED
from worker.intake.submission import Intake
from worker.records.sessions import Database
from worker.sandbox import Sandbox

FORM_PART_BYTES_LIMIT = 4 * 2**20
"A part of a multipart form that is not a file: the description of a network, with at most 10,000 names."
EXPOSED = ["ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "X-Request-Id"]

RESOURCES = (
    submissions,
    jobs,
    curves,
    held_out,
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


@cache
def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document. It is made when it is first asked for: that takes a tenth of a second or two."""
    return document(all_operations())


def create_app(settings: ServiceSettings) -> Flask:
    """Return the app of this process. Call it after the fork. Raises StartError without a key that is fit for it."""
    check_key(settings)
    check_exposure(settings)
    app = Flask("service", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.body_bytes_limit,
        MAX_FORM_MEMORY_SIZE=FORM_PART_BYTES_LIMIT,
        MAX_FORM_PARTS=8,
    )
    app.request_class = BoundedRequest
    if settings.proxies:
        # the scheme and the host come from the settings, so only the client's address is taken from a header
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=settings.proxies, x_proto=0, x_host=0)  # type: ignore[method-assign]
    parts = app.extensions[EXTENSION] = _open_parts(settings)
    register_requests(app, parts)
    register_problems(app, ERROR_FORMATS)
    policies = register_operations(app, all_operations()) | pages.register(app)
    register_access(app, settings, policies)
    if settings.cors_origins:
        # another origin may send a key, but not the session cookie
        CORS(app, origins=list(settings.cors_origins), supports_credentials=False, expose_headers=EXPOSED)
    return app


def _open_parts(settings: ServiceSettings) -> Parts:
    database = Database(
        settings.database,
        name="gradmill api",
        pool_size=settings.api_connections,
        overflow=0,
        before_use=leave_loop,
    )
    storage = Storage(settings.storage)
    # each that waits holds a thread
    waiting = settings.api_threads * 5 // 8
    sandbox = Sandbox(PRELOADED, memory_bytes=settings.parse_memory_bytes_limit, waiting=waiting)
    datasets = Datasets(database, storage, settings.limits, sandbox)
    doorbell = Doorbell(settings)
    predictors = Predictors(database, bytes_limit=settings.predictor_bytes_limit)
    return Parts(
        settings=settings,
        database=database,
        storage=storage,
        sandbox=sandbox,
        unknown_count=UnknownCount(database, storage),
        datasets=datasets,
        intake=Intake(database, datasets, settings.limits, doorbell.ring),
        doorbell=doorbell,
        live=Live(database, settings.redis_url, watchers_limit=settings.watchers_limit),
        predictors=predictors,
        addresses=Addresses(predictors),
        statistics=Statistics(),
        failed_keys=FailedKeys(),
        lists_share=share_of(settings.api_connections, settings.api_threads),
        openapi=openapi_document,
    )
