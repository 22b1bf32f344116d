"""Makes things that a case may delete or stop, so that the objects that all cases share stay there."""

from collections.abc import Callable
from itertools import count
from typing import Any

from flask.testing import FlaskClient

from tests.conftest import SPEC

Parameters = dict[str, Any]
Ids = dict[str, list[Any]]
numbers = count()


def job(client: FlaskClient, _ids: Ids) -> Parameters:
    return {"job_id": client.post("/v1/jobs", json=SPEC).get_json()["id"]}


def paused_job(client: FlaskClient, ids: Ids) -> Parameters:
    parameters = job(client, ids)
    client.post(f"/v1/jobs/{parameters['job_id']}/pause")
    return parameters


def dataset(client: FlaskClient, _ids: Ids) -> Parameters:
    table = f"x,label\n{next(numbers)},expendable\n2,b\n".encode()
    return {"dataset_id": client.post("/v1/datasets", data=table, content_type="text/csv").get_json()["id"]}


def prediction(client: FlaskClient, ids: Ids) -> Parameters:
    body = {"dataset": {"source": "builtin", "name": "iris"}}
    # by a job: a chain of cases finds every alias of a model and moves it, and then its versions can be deleted
    path = f"/v1/jobs/{ids['job_id'][0]}/predict"
    return {"prediction_id": client.post(path, json=body).get_json()["id"]}


def version(client: FlaskClient, ids: Ids) -> Parameters:
    name = f"expendable-{next(numbers)}"
    client.post("/v1/models", json={"name": name, "job_id": ids["job_id"][0]})
    return {"name": name, "version": 1}


def model(client: FlaskClient, ids: Ids) -> Parameters:
    return {"name": version(client, ids)["name"]}


def alias(client: FlaskClient, _ids: Ids) -> Parameters:
    client.put("/v1/models/iris/aliases/expendable", json={"version": 1})
    return {"name": "iris", "alias": "expendable"}


EXPENDABLE: dict[tuple[str, str], Callable[[FlaskClient, Ids], Parameters]] = {
    ("delete", "/v1/jobs/{job_id}"): job,
    ("post", "/v1/jobs/{job_id}/cancel"): job,
    ("post", "/v1/jobs/{job_id}/pause"): job,
    ("post", "/v1/jobs/{job_id}/resume"): paused_job,
    ("delete", "/v1/datasets/{dataset_id}"): dataset,
    ("delete", "/v1/predictions/{prediction_id}"): prediction,
    ("delete", "/v1/models/{name}"): model,
    ("delete", "/v1/models/{name}/versions/{version}"): version,
    ("delete", "/v1/models/{name}/aliases/{alias}"): alias,
}
"The parameters of something new, by method and path."
