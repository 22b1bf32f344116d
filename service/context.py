"""What a handler may use besides its request: the parts that the process has opened, and the caller."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from service.failed_keys import FailedKeys
from service.live import Live
from service.open_inference.statistics import Statistics
from service.predict.addresses import Addresses
from service.predict.predictors import Predictors
from service.request import Principal, request
from service.settings import ServiceSettings
from service.shares import Share
from worker.broker.doorbell import Doorbell
from worker.data.storage import Storage
from worker.intake.datasets import Datasets
from worker.intake.objects import UnknownCount
from worker.intake.submission import Intake
from worker.records.sessions import Database
from worker.sandbox import Sandbox

EXTENSION = "gradmill"
"Under this name a Flask app has its Parts."


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
    openapi: Callable[[], dict[str, Any]]


def parts() -> Parts:
    """Return the parts of the process that answers this request."""
    return cast(Parts, request().parts)


def project_id() -> str:
    """Return the project that the caller's key belongs to. Every read and write stays within it."""
    return cast(Principal, request().principal).project_id


def caller() -> str:
    """Return who made a change, for a history. As there is only one key, this says how: by `key` or `dashboard`."""
    return "dashboard" if cast(Principal, request().principal).by_cookie else "key"
