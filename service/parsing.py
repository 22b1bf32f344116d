"""Request bodies and query strings -> validated models, strictly; faults as JSON Pointers."""

import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from flask import request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.problems import Problem

M = TypeVar("M", bound=BaseModel)

DEPTH_LIMIT = 32
WORDS = {
    r"Input should": "should",
    r"a valid dictionary( or .*)?$": "an object",
    r"a valid tuple$": "a list",
    r"^Tuple": "list",
    r" after validation": "",
    r", unable to parse.*": "",
}
"Pydantic's words and ours: a client sends JSON, not Python."
JSON_TYPE = "application/json"
EMPTY: dict[type[BaseModel], BaseModel] = {}
"What an empty query string is of each model, once it was asked for."


def read_json() -> Any:
    """The body as JSON. Refused: another type, NaN, duplicate names, numbers of thousands of digits, deep nesting."""
    if request.mimetype != JSON_TYPE or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise Problem(415, f"the body must be {JSON_TYPE} in UTF-8")
    return parse_json(request.get_data(cache=True))


def parse_json(content: bytes) -> Any:
    """JSON, as strictly. Raises Problem."""
    if not content:
        raise Problem(400, "the body is empty")
    try:
        document = json.loads(content.decode("utf-8"), object_pairs_hook=_members, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Problem(400, f"the body is not JSON: line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise Problem(400, f"the body is nested deeper than {DEPTH_LIMIT} levels") from error
    except ValueError as error:
        raise Problem(400, f"the body is not JSON: {error}") from error
    _check_depth(document)
    return document


def check_surrogates(content: bytes, document: Any) -> None:
    """Refuse half a surrogate pair, which JSON's escapes can write and UTF-8 can't: of values that no model checks."""
    if rb"\ud" in content.lower():
        try:
            json.dumps(document, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Problem(400, "the body has half a surrogate pair, which is no text") from error


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"a member stands twice: {twice[:64]!r}")
    return members


def _no_constant(token: str) -> None:
    raise ValueError(f"{token} is no JSON number")


def _check_depth(document: Any) -> None:
    level = [document]
    for _ in range(DEPTH_LIMIT):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise Problem(400, f"the body is nested deeper than {DEPTH_LIMIT} levels")


def _children(parent: Any) -> Iterable[Any]:
    if isinstance(parent, dict):
        return [child for child in parent.values() if isinstance(child, dict | list)]
    return [child for child in parent if isinstance(child, dict | list)] if isinstance(parent, list) else ()


def parse_body(model: type[M]) -> M:
    return validate(model, read_json())


def validate(model: type[M], document: Any) -> M:
    """Raises a 422 Problem that names every fault by its JSON Pointer."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise Problem(
            422,
            "the body is not what this address takes",
            errors=[
                {"pointer": pointer(fault, document), "detail": described(fault)}
                for fault in error.errors(include_url=False, include_input=False)
            ],
        ) from error


def parse_query(model: type[M]) -> M:
    """The query string; each parameter at most once."""
    if not request.query_string and model in EMPTY:
        # most requests have none, and predicting should not wait for its parsing; the model is frozen
        return cast(M, EMPTY[model])
    for name, values in request.args.lists():
        if len(values) > 1:
            raise Problem(422, "a parameter stands twice", errors=[{"parameter": name[:64], "detail": "stands twice"}])
    try:
        found = model.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise Problem(
            422,
            "a parameter is not what this address takes",
            errors=[
                {"parameter": ".".join(map(str, fault["loc"])), "detail": described(fault)}
                for fault in error.errors(include_url=False, include_input=False)
            ],
        ) from error
    if not request.query_string:
        EMPTY[model] = found
    return found


def pointer(fault: ErrorDetails, document: Any) -> str:
    """The JSON Pointer of a fault (RFC 6901). Pydantic's `loc` also names union members, which no document has."""
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
    return "".join(f"/{str(token).replace('~', '~0').replace('/', '~1')}" for token in tokens)


def _names_a_type(last: str | int, place: Any, fault: ErrorDetails) -> bool:
    """Whether the last part of `loc` is the name of a union's member, such as `int`, and not the document's."""
    if fault["type"] in ("missing", "extra_forbidden") or isinstance(last, int):
        return False
    return not (isinstance(place, dict) and last in place)


def described(fault: ErrorDetails) -> str:
    """Pydantic's sentence, in lower case as ours are."""
    text = fault["msg"].removeprefix("Value error, ")
    for theirs, ours in WORDS.items():
        text = re.sub(theirs, ours, text)
    return text[:1].lower() + text[1:]
