"""create_app: the WSGI application, with its parts opened in this process."""

from flask import Flask
from flask_cors import CORS

from service.access import register_access
from service.api import chain_rule, curves, datasets, events, insight, jobs, predictions, steps, submissions, system
from service.context import EXTENSION, Parts, register_request_ids
from service.live import Live
from service.openapi import document
from service.operations import Operation, register_operations
from service.predictors import Predictors
from service.problems import register_problems
from service.settings import ServiceSettings
from service.ui import pages
from worker.data.storage import Storage
from worker.errors import StartError
from worker.queue import Doorbell
from worker.records.sessions import Database
from worker.running.tables import Tables

EXPOSED = ["ETag", "Idempotency-Replayed", "Link", "Location", "Retry-After", "X-Request-Id"]

RESOURCES = (submissions, jobs, curves, events, predictions, chain_rule, insight, steps, datasets, system)


def all_operations() -> list[Operation]:
    """Every operation of the API, in the document's order."""
    return [operation for resource in RESOURCES for operation in resource.operations.declared]


def create_app(settings: ServiceSettings) -> Flask:
    """Make the app after the fork of its process. Raises StartError without a key: there is no mode without one."""
    if not settings.api_key.get_secret_value():
        raise StartError("set GRADMILL_API_KEY: the API answers nobody without a key")
    app = Flask("service", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.body_bytes_limit,
        MAX_FORM_MEMORY_SIZE=settings.body_bytes_limit,
        MAX_FORM_PARTS=8,
        TRUSTED_HOSTS=settings.hosts,
    )
    app.extensions[EXTENSION] = _open_parts(settings)
    app.extensions["gradmill.openapi"] = document(all_operations())
    register_request_ids(app)
    register_problems(app)
    policies = register_operations(app, all_operations()) | pages.register(app)
    register_access(app, settings, policies)
    if settings.cors_origins:
        # keys cross origins, cookies do not
        CORS(app, origins=list(settings.cors_origins), supports_credentials=False, expose_headers=EXPOSED)
    return app


def _open_parts(settings: ServiceSettings) -> Parts:
    database = Database(settings.database, pool_size=10)
    storage = Storage(settings.storage)
    return Parts(
        settings=settings,
        database=database,
        storage=storage,
        tables=Tables(database, storage, settings.limits),
        doorbell=Doorbell(settings),
        live=Live(database, settings.redis_url, watchers_limit=settings.watchers_limit),
        predictors=Predictors(database, bytes_limit=settings.predictor_bytes_limit),
    )
