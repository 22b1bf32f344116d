"""Opens an app whose database has one of everything that an address can name, so that cases get past the 404."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flask import Flask
from flask.testing import FlaskClient
from pydantic import SecretStr

from service.context import Parts
from service.settings import ServiceSettings
from tests.conftest import SPEC
from tests.service.conftest import KEY, MODELS, serving
from worker.running.predicting import TablePredictor
from worker.running.run import Runner

FOLDS = {"name": "folds", "model": "iris", "training": {"epochs": 2, "validation": {"folds": 2}}}
KEPT_STEP = {"name": "steps", "model": "iris", "training": {"epochs": 2, "batch_size": 120, "replay_steps": [1]}}


class Objects(NamedTuple):
    """The real objects.

    ids: by the name of the parameter.
    models: the model of each job.
    weights: an export.
    folds: the job that has some.
    """

    ids: dict[str, list[Any]]
    models: dict[str, str]
    weights: bytes
    folds: str


@contextmanager
def opened(trained: Path, redis_url: str, folder: Path) -> Iterator[tuple[Flask, FlaskClient, Objects]]:
    """Open an app on a copy of the trained models. trained: the path of their database."""
    shutil.copytree(trained.parent, folder)
    url = f"sqlite:///{folder / trained.name}"
    settings = ServiceSettings(
        data_dir=folder, database_url=url, redis_url=redis_url, api_key=SecretStr(KEY), heartbeat_seconds=0.1
    )
    with serving(settings) as (app, client, parts):
        yield app, client, _make_objects(client, parts)


def _make_objects(client: FlaskClient, parts: Parts) -> Objects:
    runner = Runner(
        parts.database, parts.datasets, parts.settings, threading.Event(), "wrk_test", parts.doorbell.announce
    )
    folds, stepping = (str(client.post("/v1/jobs", json=SPEC | each).get_json()["id"]) for each in (FOLDS, KEPT_STEP))
    for job_id in (folds, stepping):
        assert runner.run_job(job_id) == "succeeded"
    for name in MODELS:
        # no case names the second alias, so version 1 can't be deleted
        for alias in ("production", "keeper"):
            client.put(f"/v1/models/{name}/aliases/{alias}", json={"version": 1})
    jobs = client.get("/v1/jobs").get_json()["data"]
    models = {job["id"]: job["model"]["name"] for job in jobs}
    ids = {
        "job_id": list(models),
        "name": list(MODELS),
        "alias": ["production"],
        "version": [1],
        "step": ["1"],
        "dataset_id": [dataset["id"] for dataset in client.get("/v1/datasets").get_json()["data"]],
        "prediction_id": [_prediction(client, parts)],
    }
    return Objects(ids, models, client.get("/v1/models/iris/versions/1/export?format=safetensors").data, folds)


def _prediction(client: FlaskClient, parts: Parts) -> str:
    """Predict a whole table, and return the prediction's id."""
    body = {"dataset": {"source": "builtin", "name": "iris"}}
    found: str = client.post("/v1/models/iris/predict", json=body).get_json()["id"]
    predictor = TablePredictor(
        parts.database, parts.datasets, parts.storage, parts.settings, threading.Event(), "wrk_test"
    )
    assert predictor.run_prediction(found) == "succeeded"
    return found
