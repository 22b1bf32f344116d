"""Routes of MLflow's scoring server, for each model: ping, health, version, invocations.

Source: mlflow/mlflow, mlflow/pyfunc/scoring_server/__init__.py.
"""

from typing import Any

import orjson

from service.bodies import read_body
from service.context import parts, project_id
from service.json_text import parse_with_nan
from service.operations import Answer, Operations
from service.parsing import validate
from service.predict.addresses import AddressedModel
from service.predict.requests import cells_limit, check_rows
from service.problems import Problem
from service.reply import JSON, Reply, answer
from service.request import request
from service.scoring import schemas
from service.scoring.dataframes import read_rows
from worker.data.readers import CSV, read_cells
from worker.networks.outputs import Prediction
from worker.networks.predictor import Predictor
from worker.runtime import version as own_version

operations = Operations("scoring")

TEXT = "text/plain"
NO_MODEL = Answer("No such model, or version of it.", schemas.ScoringRefused)
READ: dict[str, Any] = {"policy": "models:read", "refusal": schemas.ScoringRefused}
PING: dict[str, Any] = READ | {"hot": True, "answers": {200: Answer("An empty line.", None, (JSON,)), 404: NO_MODEL}}
VERSION: dict[str, Any] = READ | {"answers": {200: Answer("The version.", None, (TEXT,)), 404: NO_MODEL}}
INVOKE: dict[str, Any] = {
    "policy": "models:predict",
    "hot": True,
    "refusal": schemas.ScoringRefused,
    "accepts": (JSON, CSV),
    "documented_body": schemas.ScoringRequest,
    "answers": {
        200: Answer("One prediction for each row.", schemas.Scored),
        400: Answer("The body does not fit the model.", schemas.ScoringRefused),
        404: NO_MODEL,
        415: Answer("Another media type, charset or parameter of the media type.", None, (TEXT,)),
    },
}
ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"MLflow's words for statuses. Source: mlflow/mlflow, mlflow/protos/databricks.proto."


@operations.declare("GET", "/models/<name>/ping", **PING)
def ping(name: str) -> Reply:
    """Say whether a model's newest version is ready."""
    return _ping(name, None)


@operations.declare("GET", "/models/<name>/versions/<version>/ping", **PING)
def ping_version(name: str, version: str) -> Reply:
    """Say whether a version is ready."""
    return _ping(name, version)


@operations.declare("GET", "/models/<name>/health", **PING)
def health(name: str) -> Reply:
    """Say the same as ping."""
    return _ping(name, None)


@operations.declare("GET", "/models/<name>/versions/<version>/health", **PING)
def health_version(name: str, version: str) -> Reply:
    """Say the same as ping."""
    return _ping(name, version)


def _ping(name: str, version: str | None) -> Reply:
    _find(name, version)
    return Reply(b"\n", content_type=JSON)


@operations.declare("GET", "/models/<name>/version", **VERSION)
def server_version(name: str) -> Reply:
    """Show the version of the server, which is gradmill's."""
    return _version(name, None)


@operations.declare("GET", "/models/<name>/versions/<version>/version", **VERSION)
def server_version_by_version(name: str, version: str) -> Reply:
    """Show the version of the server, which is gradmill's."""
    return _version(name, version)


def _version(name: str, version: str | None) -> Reply:
    _find(name, version)
    return Reply(own_version().encode(), content_type="text/plain; charset=utf-8")


@operations.declare("POST", "/models/<name>/invocations", **INVOKE)
def invocations(name: str) -> Reply:
    """Predict with a model's newest version, in MLflow's protocol."""
    return _invoke(name, None)


@operations.declare("POST", "/models/<name>/versions/<version>/invocations", **INVOKE)
def invocations_by_version(name: str, version: str) -> Reply:
    """Predict with a version, by its number or an alias, in MLflow's protocol."""
    return _invoke(name, version)


def _invoke(name: str, version: str | None) -> Reply:
    _check_media_type()
    predictor = _find(name, version).found.predictor
    predicted = _predict_csv(predictor) if request().mimetype == CSV else _predict_json(predictor)
    return answer({"predictions": predicted.predictions})


def _find(name: str, version: str | None) -> AddressedModel:
    return parts().addresses.find(project_id(), name, version)


def _check_media_type() -> None:
    if request().mimetype not in (JSON, CSV):
        raise Problem(415, f"the body must be {JSON} or {CSV}")
    parameters = {name.lower(): value for name, value in request().mimetype_params.items()}
    if parameters.pop("charset", "utf-8").lower() != "utf-8":
        raise Problem(415, "the body must be in UTF-8")
    if parameters:
        raise Problem(415, f"the content type has an unknown parameter: {next(iter(parameters))[:64]}")


def _predict_json(predictor: Predictor) -> Prediction:
    document = parse_with_nan(read_body())
    if not isinstance(document, dict):
        raise Problem(
            400, "the body must be an object with one of dataframe_split, dataframe_records, instances, inputs"
        )
    scoring = validate(schemas.ScoringRequest, document)
    rows = read_rows(scoring, [code.name for code in predictor.encoders.features])
    check_rows(predictor, len(rows))
    return predictor.predict_rows(rows)


def _predict_csv(predictor: Predictor) -> Prediction:
    content = read_body()
    table = read_cells(content, parts().settings.limits, cells_limit=cells_limit())
    check_rows(predictor, table.num_rows)
    return predictor.predict_table(table)


def write_error(problem: Problem) -> Reply:
    """Return an error in MLflow's form. A wrong media type is refused in plain text."""
    if problem.status == 415:
        return problem.foreign_reply(problem.detail.encode(), "text/plain; charset=utf-8")
    code = ERROR_CODES.get(problem.status, "BAD_REQUEST" if problem.status < 500 else "INTERNAL_ERROR")
    return problem.foreign_reply(orjson.dumps({"error_code": code, "message": problem.sentence}), JSON)
