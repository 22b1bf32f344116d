"""MLflow's scoring server, one for each model: ping, health, version, invocations.

Errors are told as `service/dialects.py` says. Source: mlflow/mlflow, mlflow/pyfunc/scoring_server/__init__.py.
"""

from typing import Any

from flask import Response, request

from service.bodies import read_body, read_json
from service.context import parts, project_id
from service.operations import JSON, Answer, Operations, answer
from service.parsing import validate
from service.predict.addresses import Addressed
from service.problems import Problem
from service.scoring import schemas
from service.scoring.dataframes import rows_of
from worker.data.readers import CSV, read_table
from worker.networks.outputs import Prediction
from worker.networks.predictor import Predictor
from worker.runtime import version as own_version

operations = Operations("scoring")

TEXT = "text/plain"
NO_MODEL = Answer("No such model, or version of it.", schemas.ScoringRefused)
READ: dict[str, Any] = {"policy": "models:read", "refusal": schemas.ScoringRefused}
PING: dict[str, Any] = READ | {"answers": {200: Answer("An empty line.", None, (JSON,)), 404: NO_MODEL}}
VERSION: dict[str, Any] = READ | {"answers": {200: Answer("The version.", None, (TEXT,)), 404: NO_MODEL}}
INVOKE: dict[str, Any] = {
    "policy": "models:predict",
    "refusal": schemas.ScoringRefused,
    "accepts": (JSON, CSV),
    "documented_body": schemas.ScoringRequest,
    "answers": {
        200: Answer("A prediction a row.", schemas.Scored),
        400: Answer("The body does not fit the model.", schemas.ScoringRefused),
        404: NO_MODEL,
        415: Answer("Another media type, charset or parameter of it.", None, (TEXT,)),
    },
}


@operations.declare("GET", "/models/<name>/ping", **PING)
def ping(name: str) -> Response:
    """Whether a model's newest version can be asked."""
    return _ping(name, None)


@operations.declare("GET", "/models/<name>/versions/<version>/ping", **PING)
def ping_version(name: str, version: str) -> Response:
    """Whether a version can be asked."""
    return _ping(name, version)


@operations.declare("GET", "/models/<name>/health", **PING)
def health(name: str) -> Response:
    """The same as ping."""
    return _ping(name, None)


@operations.declare("GET", "/models/<name>/versions/<version>/health", **PING)
def health_version(name: str, version: str) -> Response:
    """The same as ping."""
    return _ping(name, version)


def _ping(name: str, version: str | None) -> Response:
    _find(name, version)
    return Response("\n", content_type=JSON)


@operations.declare("GET", "/models/<name>/version", **VERSION)
def server_version(name: str) -> Response:
    """The version of the server, which is gradmill's."""
    return _version(name, None)


@operations.declare("GET", "/models/<name>/versions/<version>/version", **VERSION)
def server_version_by_version(name: str, version: str) -> Response:
    """The version of the server, which is gradmill's."""
    return _version(name, version)


def _version(name: str, version: str | None) -> Response:
    _find(name, version)
    return Response(own_version(), content_type="text/plain; charset=utf-8")


@operations.declare("POST", "/models/<name>/invocations", **INVOKE)
def invocations(name: str) -> Response:
    """Predict by a model's newest version, as MLflow's clients ask."""
    return _invoke(name, None)


@operations.declare("POST", "/models/<name>/versions/<version>/invocations", **INVOKE)
def invocations_by_version(name: str, version: str) -> Response:
    """Predict by a version, by its number or an alias, as MLflow's clients ask."""
    return _invoke(name, version)


def _invoke(name: str, version: str | None) -> Response:
    _check_media_type()
    predictor = _find(name, version).served.predictor
    predicted = _of_csv(predictor) if request.mimetype == CSV else _of_json(predictor)
    return answer({"predictions": predicted.predictions})


def _find(name: str, version: str | None) -> Addressed:
    return parts().addresses.find(project_id(), name, version)


def _check_media_type() -> None:
    if request.mimetype not in (JSON, CSV):
        raise Problem(415, f"the body must be {JSON} or {CSV}")
    parameters = {name.lower(): value for name, value in request.mimetype_params.items()}
    if parameters.pop("charset", "utf-8").lower() != "utf-8":
        raise Problem(415, "the body must be in UTF-8")
    if parameters:
        raise Problem(415, f"the content type has a parameter that is not known: {next(iter(parameters))[:64]}")


def _of_json(predictor: Predictor) -> Prediction:
    document = read_json(read_body())
    if not isinstance(document, dict):
        raise Problem(
            400, "the body must be an object with one of dataframe_split, dataframe_records, instances, inputs"
        )
    asked = validate(schemas.ScoringRequest, document)
    rows = rows_of(asked, [code.name for code in predictor.encoders.features])
    _check_rows(len(rows))
    return predictor.predict_rows(rows)


def _of_csv(predictor: Predictor) -> Prediction:
    content = read_body()
    if content.startswith(b","):
        # pandas writes its index as a first column without a name, and calls it so when it reads it
        content = b"Unnamed: 0" + content
    table = read_table(content, CSV, parts().settings.limits, text=predictor.categories)
    _check_rows(table.num_rows)
    return predictor.predict_table(table)


def _check_rows(rows: int) -> None:
    limit = parts().settings.predict_rows_limit
    if rows > limit:
        raise Problem(413, f"{rows} rows at once; the limit is {limit}")
