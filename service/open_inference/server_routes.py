"""The Open Inference Protocol, version 2: what is served, whether it is ready, and how much it was asked.

Errors are told as `service/dialects.py` says. Sources: kserve/open-inference-protocol, inference_rest.md;
triton-inference-server/server, docs/protocol/extension_statistics.md and extension_model_repository.md.
"""

from typing import Any

from flask import Response

from service.api.system import readyz
from service.bodies import read_body, read_json
from service.context import parts, project_id
from service.open_inference import schemas
from service.open_inference.signature import inputs_of, outputs_of
from service.open_inference.statistics import Key
from service.operations import Answer, Operations, answer
from service.parsing import validate
from service.predict.addresses import ENCODED
from service.problems import Problem
from worker.errors import NotFoundError
from worker.records.catalog import every_version
from worker.runtime import version

operations = Operations("open_inference")

EXTENSIONS = ["binary_tensor_data", "classification", "statistics"]
PLATFORM = "gradmill"
NO_MODEL = Answer("No such model, or version of it.", schemas.Refused)
READ: dict[str, Any] = {"policy": "models:read", "refusal": schemas.Refused}
"What the routes that read have in common."
SERVER = {200: Answer("The server.", schemas.Server)}
MODEL = {200: Answer("The model.", schemas.ModelShown), 404: NO_MODEL}
READY = {200: Answer("It is.", schemas.ModelReady), 404: NO_MODEL}
STATISTICS = {200: Answer("Since this process of the API started.", schemas.StatisticsShown), 404: NO_MODEL}


@operations.declare("GET", "/v2/health/live", answers={200: Answer("Alive.", schemas.Live)}, **READ)
def live() -> Response:
    """Whether the server answers."""
    return answer({"live": True})


@operations.declare(
    "GET",
    "/v2/health/ready",
    answers={200: Answer("Ready.", schemas.Ready), 503: Answer("Not ready.", schemas.Refused)},
    **READ,
)
def ready() -> Response:
    """Whether models can be asked, by the same look as /readyz."""
    if readyz().status_code != 200:
        raise Problem(503, "the server is not ready", headers={"Retry-After": "2"})
    return answer({"ready": True})


@operations.declare("GET", "/v2", answers=SERVER, **READ)
def server() -> Response:
    """Name, version and extensions of the server."""
    return answer({"name": "gradmill", "version": version(), "extensions": EXTENSIONS})


@operations.declare("GET", "/v2/", answers=SERVER, **READ)
def server_by_folder() -> Response:
    """Name, version and extensions of the server, at the address as some clients write it."""
    return server()


@operations.declare("GET", "/v2/models/<name>", answers=MODEL, **READ)
def model(name: str) -> Response:
    """Inputs and outputs of a model's newest version; of NAME.encoded, those without its encoders."""
    return _model(name, None)


@operations.declare("GET", "/v2/models/<name>/versions/<version>", answers=MODEL, **READ)
def model_version(name: str, version: str) -> Response:
    """Inputs and outputs of a version, by its number or an alias."""
    return _model(name, version)


def _model(name: str, version: str | None) -> Response:
    addressed = parts().addresses.find(project_id(), name, version)
    predictor = addressed.served.predictor
    with parts().database.reading() as session:
        versions = every_version(session, project_id(), addressed.served.name)
    return answer(
        {
            "name": name,
            "versions": [str(number) for _, number in versions],
            "platform": PLATFORM,
            "inputs": [described.shown() for described in inputs_of(predictor, encoded=addressed.encoded)],
            "outputs": [described.shown() for described in outputs_of(predictor)],
        }
    )


@operations.declare("GET", "/v2/models/<name>/ready", answers=READY, **READ)
def model_ready(name: str) -> Response:
    """Whether a model's newest version can be asked."""
    return _ready(name, None)


@operations.declare("GET", "/v2/models/<name>/versions/<version>/ready", answers=READY, **READ)
def version_ready(name: str, version: str) -> Response:
    """Whether a version can be asked."""
    return _ready(name, version)


def _ready(name: str, version: str | None) -> Response:
    parts().addresses.find(project_id(), name, version)
    return answer({"name": name, "ready": True})


@operations.declare(
    "POST",
    "/v2/repository/index",
    accepts=("application/json",),
    answers={200: Answer("A list, by name and version.", schemas.Index)},
    **READ,
)
def index() -> Response:
    """List every version of every model; the body may be empty."""
    content = read_body()
    if content:
        validate(schemas.IndexRequest, read_json(content))
    with parts().database.reading() as session:
        found = every_version(session, project_id())
    return answer([{"name": name, "version": str(number), "state": "READY", "reason": ""} for name, number in found])


@operations.declare("GET", "/v2/models/stats", answers=STATISTICS, **READ)
def statistics() -> Response:
    """How much every version was asked; as NAME.encoded only if it was."""
    with parts().database.reading() as session:
        found = every_version(session, project_id())
    shown = []
    for name, number in found:
        shown.append(_statistics(name, number, encoded=False))
        encoded = _statistics(name, number, encoded=True)
        if encoded["last_inference"]:
            shown.append(encoded)
    return answer({"model_stats": shown})


@operations.declare("GET", "/v2/models/<name>/stats", answers=STATISTICS, **READ)
def model_statistics(name: str) -> Response:
    """How much each version of a model was asked."""
    base = parts().addresses.base(project_id(), name)
    with parts().database.reading() as session:
        found = every_version(session, project_id(), base)
    if not found:
        raise NotFoundError("the model has no versions")
    return answer({"model_stats": [_statistics(base, number, encoded=base != name) for _, number in found]})


@operations.declare("GET", "/v2/models/<name>/versions/<version>/stats", answers=STATISTICS, **READ)
def version_statistics(name: str, version: str) -> Response:
    """How much a version was asked."""
    addressed = parts().addresses.find(project_id(), name, version)
    own, number = addressed.served.name, addressed.served.version
    return answer({"model_stats": [_statistics(own or name, number or 0, encoded=addressed.encoded)]})


def _statistics(name: str, number: int, *, encoded: bool) -> dict[str, Any]:
    key = Key(project_id(), name, number, encoded)
    return parts().statistics.shown(key, name + ENCODED if encoded else name)
