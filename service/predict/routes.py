"""Predictions by a job's or a model's network, and a job's weights as a file."""

from typing import Any

from flask import Response

from service.api.answers import CONFLICT, INVALID, NOT_FOUND
from service.api.exports import BINARY, exported
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.predict import schemas
from service.predict.answers import WARNINGS, media_type_of_answer, tell
from service.predict.predictors import Served
from service.predict.requests import BODIES, read_body, read_rows
from service.predict.table_submission import accept_table
from service.problems import Problem
from service.schemas.common import ProblemDocument
from service.schemas.jobs import WeightsQuery
from worker.errors import SpecError
from worker.networks.trained import read_trained
from worker.records.listing import get_job
from worker.records.weights import newest_weights_id

operations = Operations("predictions")

PROBLEM = ("application/problem+json",)
PREDICT: dict[str, Any] = {
    "policy": "models:predict",
    "query": schemas.PredictQuery,
    "accepts": BODIES,
    "documented_body": schemas.PredictRequest,
    "headers": {"Idempotency-Key": "Of a dataset: a repeat with the same key and body makes nothing new."},
}
"What the routes that predict have in common."
PREDICTED = Answer(
    "A prediction a row, in the form that Accept names, or else that of the body.",
    schemas.Predictions,
    BODIES,
    {WARNINGS: "Other than in JSON: how many values lie outside the range that training saw."},
)
ACCEPTED = Answer("Of a dataset: accepted.", schemas.TablePrediction, headers={"Location": "The prediction."})
NO_VERSION = Answer("No such model, version or alias.", ProblemDocument, PROBLEM)
OF_JOB = {200: PREDICTED, 202: ACCEPTED, 404: NOT_FOUND, 409: CONFLICT, 422: INVALID}
OF_MODEL = {200: PREDICTED, 202: ACCEPTED, 404: NO_VERSION, 422: INVALID}


@operations.declare("POST", "/v1/jobs/<job_id>/predict", answers=OF_JOB, **PREDICT)
def predict(job_id: str, query: schemas.PredictQuery) -> Response:
    """Predict rows: on the final weights, or while the job trains on its newest snapshot."""
    return _predict(parts().predictors.served_job(project_id(), job_id), query)


@operations.declare("POST", "/v1/models/<name>/predict", answers=OF_MODEL, **PREDICT)
def predict_by_model(name: str, query: schemas.PredictQuery) -> Response:
    """Predict rows by a model's newest version."""
    return _predict(parts().predictors.of_model(project_id(), name), query)


@operations.declare("POST", "/v1/models/<name>/versions/<int:version>/predict", answers=OF_MODEL, **PREDICT)
def predict_by_version(name: str, version: int, query: schemas.PredictQuery) -> Response:
    """Predict rows by this version of a model."""
    return _predict(parts().predictors.of_model(project_id(), name, version=version), query)


@operations.declare("POST", "/v1/models/<name>/aliases/<alias>/predict", answers=OF_MODEL, **PREDICT)
def predict_by_alias(name: str, alias: str, query: schemas.PredictQuery) -> Response:
    """Predict rows by the version that an alias points at; a move is seen within a second by every process."""
    return _predict(parts().predictors.of_model(project_id(), name, alias=alias), query)


def _predict(served: Served, query: schemas.PredictQuery) -> Response:
    body, options = read_body(), query.options()
    asked = None if body is None else body.asked
    if asked is not None:
        options = asked.options(options)
    try:
        if asked is not None and asked.dataset is not None:
            return accept_table(served, asked.dataset, options)
        outputs = served.predictor.predict(read_rows(served.predictor, body))
        return tell(served, outputs, options, media_type_of_answer())
    except SpecError as error:
        in_query = error.pointer == "/top_k" and (asked is None or asked.top_k is None)
        place = {"parameter": "top_k"} if in_query else {"pointer": error.pointer}
        raise Problem(422, "that does not fit this model", errors=[place | {"detail": error.detail}]) from error


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/weights",
    policy="jobs:read",
    query=WeightsQuery,
    answers={
        200: Answer("A safetensors file; the network and the encoders are in its metadata.", None, (BINARY,)),
        404: NOT_FOUND,
        409: CONFLICT,
    },
)
def weights(job_id: str, query: WeightsQuery) -> Response:
    """The weights as safetensors: final, latest, or of an epoch that was kept."""
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        trained = read_trained(session, newest_weights_id(session, job_id, query.checkpoint))
    return exported(trained, "safetensors", f"{job_id}-{trained.epoch}")
