"""Routes of the Open Inference Protocol, version 2, about the server: its models, their readiness, and statistics.

Sources: kserve/open-inference-protocol, inference_rest.md;
triton-inference-server/server, docs/protocol/extension_statistics.md and extension_model_repository.md.
"""

from typing import Any

from service.api.system import find_readiness
from service.bodies import read_body
from service.context import parts, project_id
from service.json_text import parse_with_nan
from service.open_inference import schemas
from service.open_inference.signature import describe_inputs, describe_outputs
from service.open_inference.statistics import CountedModel
from service.operations import Answer, Operations
from service.parsing import validate
from service.predict.addresses import ENCODED
from service.problems import RETRY_AFTER, Problem
from service.reply import Reply, answer
from worker.errors import NotFoundError
from worker.records.versions import first_models, newest_numbers
from worker.runtime import version

operations = Operations("open_inference")

EXTENSIONS = ["binary_tensor_data", "classification", "statistics"]
PLATFORM = "gradmill"
LISTED = 1000
"The protocol has no pages, so its lists end here."
NO_MODEL = Answer("No such model, or version of it.", schemas.Refused)
READ: dict[str, Any] = {"policy": "models:read", "refusal": schemas.Refused}
"The part of the declaration that the routes which read share."
SERVER = {200: Answer("The server.", schemas.Server)}
MODEL = {200: Answer("The model.", schemas.ModelShown), 404: NO_MODEL}
READY = {200: Answer("The model is ready.", schemas.ModelReady), 404: NO_MODEL}
STATISTICS = {200: Answer("Counted since this API process started.", schemas.StatisticsShown), 404: NO_MODEL}


@operations.declare("GET", "/v2/health/live", hot=True, answers={200: Answer("Alive.", schemas.Live)}, **READ)
def live() -> Reply:
    """Say that the server answers."""
    return answer({"live": True})


@operations.declare(
    "GET",
    "/v2/health/ready",
    hot=True,
    answers={200: Answer("Ready.", schemas.Ready), 503: Answer("Not ready.", schemas.Refused)},
    **READ,
)
def ready() -> Reply:
    """Say whether models are ready: 503 if /readyz is unready."""
    if not find_readiness().ready:
        raise Problem(503, "the server is not ready", headers=RETRY_AFTER)
    return answer({"ready": True})


@operations.declare("GET", "/v2", hot=True, answers=SERVER, **READ)
def server() -> Reply:
    """Show the server's name, version and extensions."""
    return _server()


@operations.declare("GET", "/v2/", hot=True, answers=SERVER, **READ)
def server_by_folder() -> Reply:
    """Show the server's name, version and extensions, at the address that some clients use."""
    return _server()


def _server() -> Reply:
    return answer({"name": "gradmill", "version": version(), "extensions": EXTENSIONS})


@operations.declare("GET", "/v2/models/<name>", answers=MODEL, **READ)
def model(name: str) -> Reply:
    """Show the inputs and outputs of a model's newest version; for NAME.encoded, those without its encoders."""
    return _model(name, None)


@operations.declare("GET", "/v2/models/<name>/versions/<version>", answers=MODEL, **READ)
def model_version(name: str, version: str) -> Reply:
    """Show the inputs and outputs of a version, by its number or an alias."""
    return _model(name, version)


def _model(name: str, version: str | None) -> Reply:
    addressed = parts().addresses.find(project_id(), name, version)
    predictor = addressed.found.predictor
    with parts().database.reading() as session:
        versions = newest_numbers(session, project_id(), addressed.found.name or name, limit=LISTED)
    return answer(
        {
            "name": name,
            "versions": [str(number) for number in versions],
            "platform": PLATFORM,
            "inputs": [tensor.document() for tensor in describe_inputs(predictor, encoded=addressed.encoded)],
            "outputs": [tensor.document() for tensor in describe_outputs(predictor)],
        }
    )


@operations.declare("GET", "/v2/models/<name>/ready", hot=True, answers=READY, **READ)
def model_ready(name: str) -> Reply:
    """Say whether a model's newest version is ready."""
    return _ready(name, None)


@operations.declare("GET", "/v2/models/<name>/versions/<version>/ready", hot=True, answers=READY, **READ)
def version_ready(name: str, version: str) -> Reply:
    """Say whether a version is ready."""
    return _ready(name, version)


def _ready(name: str, version: str | None) -> Reply:
    parts().addresses.find(project_id(), name, version)
    return answer({"name": name, "ready": True})


@operations.declare(
    "POST",
    "/v2/repository/index",
    accepts=("application/json",),
    documented_body=schemas.IndexRequest,
    optional_body=True,
    heavy=True,
    answers={200: Answer("A list, by name. GET /v1/models has pages of all.", schemas.Index)},
    **READ,
)
def index() -> Reply:
    """List the newest version of each of the first 1,000 models; the body may be empty."""
    content = read_body()
    if content:
        validate(schemas.IndexRequest, parse_with_nan(content))
    with parts().database.reading() as session:
        found = first_models(session, project_id(), limit=LISTED)
    return answer([{"name": name, "version": str(number), "state": "READY", "reason": ""} for name, number in found])


@operations.declare("GET", "/v2/models/stats", answers=STATISTICS, heavy=True, **READ)
def statistics() -> Reply:
    """Show counts and times of requests to the models of the index; NAME.encoded only if it had requests."""
    with parts().database.reading() as session:
        found = first_models(session, project_id(), limit=LISTED)
    shown = []
    for name, number in found:
        shown.append(_statistics(name, number, encoded=False))
        encoded = _statistics(name, number, encoded=True)
        if encoded["last_inference"]:
            shown.append(encoded)
    return answer({"model_stats": shown})


@operations.declare("GET", "/v2/models/<name>/stats", answers=STATISTICS, **READ)
def model_statistics(name: str) -> Reply:
    """Show counts and times of requests to each of the newest 1,000 versions of a model."""
    base = parts().addresses.base(project_id(), name)
    with parts().database.reading() as session:
        found = newest_numbers(session, project_id(), base, limit=LISTED)
    if not found:
        raise NotFoundError("the model has no versions")
    return answer({"model_stats": [_statistics(base, number, encoded=base != name) for number in found]})


@operations.declare("GET", "/v2/models/<name>/versions/<version>/stats", answers=STATISTICS, **READ)
def version_statistics(name: str, version: str) -> Reply:
    """Show counts and times of requests to a version."""
    found, encoded = parts().addresses.find(project_id(), name, version)[1:]
    return answer({"model_stats": [_statistics(found.name or name, found.version or 0, encoded=encoded)]})


def _statistics(name: str, number: int, *, encoded: bool) -> dict[str, Any]:
    counted = CountedModel(project_id(), name, number, encoded)
    return parts().statistics.document(counted, name + ENCODED if encoded else name)
