"""Routes that predict with a job's or a model's network, and that return a job's weights as a file."""

from typing import Any

from service.api.exports import BINARY, exported
from service.api.responses import CONFLICT, INVALID, NO_VERSION, NOT_FOUND
from service.context import parts, project_id
from service.operations import Answer, Operations
from service.predict import schemas
from service.predict.answers import WARNINGS, accepted_media_type, write_answer
from service.predict.predictors import NamedPredictor
from service.predict.requests import BODIES, check_rows, read_json_body, read_rows
from service.predict.table_routes import accept_table
from service.problems import Problem
from service.reply import Reply
from service.schemas.jobs import WeightsQuery
from worker.errors import SpecError
from worker.networks.trained import read_origin
from worker.records.jobs import get_job
from worker.records.weights import find_weights_id

operations = Operations("predictions")

PREDICT: dict[str, Any] = {
    "policy": "models:predict",
    "hot": True,
    "query": schemas.PredictQuery,
    "accepts": BODIES,
    "documented_body": schemas.PredictRequest,
    "headers": {"Idempotency-Key": "For a dataset: a repeat with the same key and body creates nothing new."},
}
"The part of the declaration that the routes which predict share."
PREDICTED = Answer(
    "One prediction for each row, in the media type that Accept names, or else in that of the body.",
    schemas.Predictions,
    BODIES,
    {WARNINGS: "Except in JSON: how many values lie outside the range that training saw."},
)
ACCEPTED = Answer("For a dataset: accepted.", schemas.TablePrediction, headers={"Location": "The prediction."})
BY_JOB = {200: PREDICTED, 202: ACCEPTED, 404: NOT_FOUND, 409: CONFLICT, 422: INVALID}
BY_MODEL = {200: PREDICTED, 202: ACCEPTED, 404: NO_VERSION, 422: INVALID}


@operations.declare("POST", "/v1/jobs/<job_id>/predict", answers=BY_JOB, **PREDICT)
def predict(job_id: str, query: schemas.PredictQuery) -> Reply:
    """Predict rows with a job's final weights or, if it has none yet, with its newest snapshot."""
    return _predict(parts().predictors.of_job(project_id(), job_id), query)


@operations.declare("POST", "/v1/models/<name>/predict", answers=BY_MODEL, **PREDICT)
def predict_by_model(name: str, query: schemas.PredictQuery) -> Reply:
    """Predict rows with a model's newest version."""
    return _predict(parts().predictors.of_model(project_id(), name), query)


@operations.declare("POST", "/v1/models/<name>/versions/<int:version>/predict", answers=BY_MODEL, **PREDICT)
def predict_by_version(name: str, version: int, query: schemas.PredictQuery) -> Reply:
    """Predict rows with this version of a model."""
    return _predict(parts().predictors.of_model(project_id(), name, version=version), query)


@operations.declare("POST", "/v1/models/<name>/aliases/<alias>/predict", answers=BY_MODEL, **PREDICT)
def predict_by_alias(name: str, alias: str, query: schemas.PredictQuery) -> Reply:
    """Predict rows with the version that an alias points at; every process sees a move within a second."""
    return _predict(parts().predictors.of_model(project_id(), name, alias=alias), query)


def _predict(found: NamedPredictor, query: schemas.PredictQuery) -> Reply:
    body, options = read_json_body(), query.options()
    others = None if body is None else body.others
    if others is not None:
        options = others.options(options)
    try:
        if others is not None and others.dataset is not None:
            return accept_table(found, others.dataset, options)
        encoded = read_rows(found.predictor, body)
        if options.top_k is not None:
            check_rows(found.predictor, len(encoded.x), ranked=options.top_k)
        outputs = found.predictor.predict(encoded)
        return write_answer(found, outputs, options, accepted_media_type())
    except SpecError as error:
        in_query = error.pointer == "/top_k" and (others is None or others.top_k is None)
        place = {"parameter": "top_k"} if in_query else {"pointer": error.pointer}
        raise Problem(422, "the request does not fit this model", errors=[place | {"detail": error.detail}]) from error


@operations.declare(
    "GET",
    "/v1/jobs/<job_id>/weights",
    policy="jobs:read",
    query=WeightsQuery,
    answers={
        200: Answer("A safetensors file with the network and the encoders in its metadata.", None, (BINARY,)),
        404: NOT_FOUND,
        409: CONFLICT,
    },
)
def weights(job_id: str, query: WeightsQuery) -> Reply:
    """Download the weights as safetensors: final, latest, or those of an epoch that was kept."""
    with parts().database.reading() as session:
        get_job(session, project_id(), job_id)
        origin = read_origin(session, find_weights_id(session, job_id, query.checkpoint))
    return exported(origin, "safetensors", f"{job_id}-{origin.epoch}")
