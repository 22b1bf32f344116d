"""Predictions of a job's network, and its weights as a file."""

from typing import Any

import orjson
import pyarrow as pa
import pyarrow.csv
from flask import Response, request

from service.api.answers import CONFLICT, INVALID, NOT_FOUND
from service.api.exports import BINARY, exported
from service.context import parts, project_id
from service.operations import Answer, Operations, answer
from service.parsing import JSON_TYPE, read_json, validate
from service.problems import Problem
from service.schemas import predictions as schemas
from service.schemas.jobs import WeightsQuery
from worker.data.readers import CSV, read_table
from worker.records.listing import get_job
from worker.records.weights import newest_weights_id
from worker.serving.export.trained import read_trained
from worker.serving.predictor import Prediction

operations = Operations("predictions")


@operations.declare(
    "POST",
    "/v1/jobs/<job_id>/predict",
    policy="models:predict",
    accepts=(JSON_TYPE, CSV),
    documented_body=schemas.PredictRequest,
    answers={
        200: Answer("A prediction a row.", schemas.Predictions, (JSON_TYPE, CSV)),
        404: NOT_FOUND,
        409: CONFLICT,
        422: INVALID,
    },
)
def predict(job_id: str) -> Response:
    """Predict rows: on the final weights, or while the job trains on its newest snapshot."""
    predictor = parts().predictors.of_job(project_id(), job_id)
    if request.mimetype == CSV:
        table = read_table(request.get_data(), CSV, parts().settings.limits, text=predictor.categories)
        return _as_csv(predictor.predict_table(table))
    prediction = predictor.predict_rows(_rows())
    document: dict[str, Any] = {
        "model": {"name": None, "version": None, "job_id": job_id},
        "predictions": prediction.predictions,
    }
    if prediction.classes is not None:
        document |= {"classes": prediction.classes, "probabilities": prediction.probabilities}
    if prediction.spread is not None:
        document["spread"] = prediction.spread
    return answer(document)


def _rows() -> list[Any]:
    """The rows of a JSON body, by a parser that is fast and keeps the last of doubled members."""
    if request.mimetype != JSON_TYPE:
        raise Problem(415, f"the body must be {JSON_TYPE} or {CSV}")
    try:
        document = orjson.loads(request.get_data())
    except orjson.JSONDecodeError:
        # the slow parser tells what is no JSON from a number that is only too large
        document = read_json()
    rows = document.get("rows") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(rows, list) or not {dict, list}.issuperset(map(type, rows)):
        # the slow way round, for its words
        rows = validate(schemas.PredictRequest, document).rows
    limit = parts().settings.predict_rows_limit
    if len(rows) > limit:
        raise Problem(413, f"{len(rows)} rows at once; the limit is {limit}")
    return rows


def _as_csv(prediction: Prediction) -> Response:
    columns = _columns("prediction", prediction.predictions)
    for n, name in enumerate(prediction.classes or ()):
        columns[f"probability of {name}"] = [row[n] for row in prediction.probabilities or ()]
    if prediction.spread is not None:
        columns |= _columns("spread", prediction.spread)
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table(columns), sink)
    return Response(sink.getvalue().to_pybytes(), content_type="text/csv; charset=utf-8")


def _columns(name: str, rows: list[Any]) -> dict[str, list[Any]]:
    """One column, or one for each of the values of a row."""
    if not rows or not isinstance(rows[0], list):
        return {name: rows}
    return {f"{name} {n}": [row[n] for row in rows] for n in range(len(rows[0]))}


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
