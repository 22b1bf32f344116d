"""Request bodies and query strings -> validated models. Parsing is strict, and each fault names its place."""

import re
from typing import Any, TypeVar, cast, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.json_text import parse_json
from service.problems import Problem, invalid_body, invalid_parameter
from service.request import request
from worker.errors import pointer_token

M = TypeVar("M", bound=BaseModel)

WORDS = {
    r"Input should": "should",
    r"a valid dictionary( or .*)?$": "an object",
    r"a valid tuple$": "a list",
    r"^Tuple": "list",
    r" after validation": "",
    r", unable to parse.*": "",
}
"Pydantic's words -> ours: a client sends JSON, not Python."
JSON_TYPE = "application/json"
EMPTY: dict[type[BaseModel], BaseModel] = {}
"The parsed form of an empty query string, by model. It is filled at the first request for each model."


def parse_body(model: type[M]) -> M:
    """Return the JSON body as a model. Raises Problem."""
    return validate(model, read_json())


def read_json() -> Any:
    """Return the body as JSON. Raises Problem, also for another media type."""
    if request().mimetype != JSON_TYPE or request().mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise Problem(415, f"the body must be {JSON_TYPE} in UTF-8")
    return parse_json(request().body)


def validate(model: type[M], document: Any) -> M:
    """Return the document as a model. Raises a 422 Problem with a JSON Pointer for each fault."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid_body(
            [
                {"pointer": _pointer(fault, document), "detail": _described(fault)}
                for fault in error.errors(include_url=False, include_input=False)
            ]
        ) from error


def parse_query(model: type[M]) -> M:
    """Return the query string as a model. Raises a 422 Problem, also for a parameter that is given twice.

    One that the model has as a tuple may be given several times.
    """
    if not request().query_string and model in EMPTY:
        # most requests have no query string, and parsing would slow down predictions; the model is frozen
        return cast(M, EMPTY[model])
    given: dict[str, Any] = {}
    for name, values in request().args.lists():
        known = model.model_fields.get(name)
        is_list = known is not None and get_origin(known.annotation) is tuple
        if len(values) > 1 and not is_list:
            raise invalid_parameter([{"parameter": name[:64], "detail": "is given twice"}])
        given[name] = values if is_list else values[0]
    try:
        found = model.model_validate(given)
    except ValidationError as error:
        raise invalid_parameter(
            [
                {"parameter": ".".join(map(str, fault["loc"])), "detail": _described(fault)}
                for fault in error.errors(include_url=False, include_input=False)
            ]
        ) from error
    if not request().query_string:
        EMPTY[model] = found
    return found


def _pointer(fault: ErrorDetails, document: Any) -> str:
    """Return the fault's JSON Pointer (RFC 6901).

    Pydantic's `loc` also names members of unions, which are not in the document: they are left out.
    """
    place = document
    tokens: list[str | int] = []
    *path, last = fault["loc"] or ("",)
    for part in path:
        if (isinstance(place, dict) and part in place) or (isinstance(place, list) and isinstance(part, int)):
            place = cast(Any, place)[part]
            tokens.append(part)
    if fault["loc"] and not _names_a_type(last, place, fault):
        tokens.append(last)
    if fault["type"].startswith("union_tag"):
        tokens.append(fault["ctx"]["discriminator"].strip("'"))
    return "".join(f"/{pointer_token(token)}" for token in tokens)


def _names_a_type(last: str | int, place: Any, fault: ErrorDetails) -> bool:
    """Return whether the last part of `loc` names a type within a union, such as `int`, and not a member."""
    if fault["type"] in ("missing", "extra_forbidden") or isinstance(last, int):
        return False
    return not (isinstance(place, dict) and last in place)


def _described(fault: ErrorDetails) -> str:
    """Return Pydantic's sentence in our words, beginning in lower case."""
    text = fault["msg"].removeprefix("Value error, ")
    for theirs, ours in WORDS.items():
        text = re.sub(theirs, ours, text)
    return text[:1].lower() + text[1:]
