"""How a refusal is told where an address belongs to a protocol that has its own way of telling it."""

from collections.abc import Callable

import orjson
from flask import Response, request

from service.problems import Problem

JSON = "application/json"


def tell(problem: Problem) -> Response:
    """The answer to this request, in the dialect of its address."""
    for prefix, dialect in DIALECTS.items():
        if request.path == prefix or request.path.startswith(f"{prefix}/"):
            return dialect(problem)
    return problem.response()


def open_inference(problem: Problem) -> Response:
    """Source: kserve/open-inference-protocol, inference_rest.md, `error`."""
    return _response(problem, orjson.dumps({"error": _sentence(problem)}), JSON)


def scoring(problem: Problem) -> Response:
    """Source: mlflow/mlflow, mlflow/pyfunc/scoring_server/__init__.py: another media type is refused as text."""
    if problem.status == 415:
        return _response(problem, problem.detail.encode(), "text/plain; charset=utf-8")
    code = ERROR_CODES.get(problem.status, "BAD_REQUEST" if problem.status < 500 else "INTERNAL_ERROR")
    return _response(problem, orjson.dumps({"error_code": code, "message": _sentence(problem)}), JSON)


def _response(problem: Problem, body: bytes, content_type: str) -> Response:
    # neither protocol knows a status of its own for a body that can be read but does not fit
    status = 400 if problem.status == 422 else problem.status
    return Response(body, status, {"Cache-Control": "no-store"} | problem.headers, content_type=content_type)


def _sentence(problem: Problem) -> str:
    """The detail and the first place at fault: these protocols have one text."""
    if not problem.errors:
        return problem.detail
    error = problem.errors[0]
    place = [f"{name} {error[name]!r}" for name in ("row", "column") if name in error]
    where = ", ".join(place) or error.get("pointer") or error.get("parameter") or ""
    return f"{problem.detail}: {where} {error['detail']}".replace(":  ", ": ")


DIALECTS: dict[str, Callable[[Problem], Response]] = {"/v2": open_inference, "/models": scoring}

ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"MLflow's words, from mlflow/protos/databricks.proto."
