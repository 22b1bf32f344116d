"""Finds the operation that a path names, as Flask would find it. Only hot operations are looked for."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from service.flask_front import VersionNumber
from service.operations import Operation
from service.parameters import PARAMETER

REMEMBERED, LONG = 4096, 256
VERSION = re.compile(VersionNumber.regex)


class Found(NamedTuple):
    """An operation, and the parameters of the path."""

    operation: Operation
    arguments: Mapping[str, Any]


class Segment(NamedTuple):
    """A part of a path between slashes. text: what it is; None for a parameter. name: of the parameter."""

    text: str | None
    name: str
    is_number: bool


class Routes:
    """The paths of all operations, and which of them are hot."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._known: dict[tuple[str, int], list[tuple[list[Segment], Operation]]] = {}
        for operation in operations:
            segments = [_segment(text) for text in operation.path.split("/")]
            self._known.setdefault((operation.method, len(segments)), []).append((segments, operation))
        for routes in self._known.values():
            # a word before a parameter: /v2/models/stats is not a model of that name
            routes.sort(key=lambda route: [segment.text is None for segment in route[0]])
        # the same few addresses are asked for again and again
        self._remembered = lru_cache(REMEMBERED)(self._find)

    def find(self, method: str, path: str) -> Found | None:
        """Return the hot operation at this path, which has no percent-encoding; None if there is none."""
        # strangers ask too, so what is remembered is bounded in length as well
        return self._remembered(method, path) if len(path) <= LONG else self._find(method, path)

    def _find(self, method: str, path: str) -> Found | None:
        words = path.split("/")
        for segments, operation in self._known.get((method, len(words)), ()):
            arguments = _match(segments, words)
            if arguments is not None:
                return Found(operation, arguments) if operation.hot else None
        return None


def _segment(text: str) -> Segment:
    found = PARAMETER.fullmatch(text)
    return Segment(text, "", False) if found is None else Segment(None, found[2], found[1] == "int")


def _match(segments: list[Segment], words: list[str]) -> dict[str, Any] | None:
    arguments: dict[str, Any] = {}
    for (text, name, is_number), word in zip(segments, words, strict=True):
        if text is not None:
            if text != word:
                return None
        elif not word or (is_number and not VERSION.fullmatch(word)):
            return None
        else:
            arguments[name] = int(word) if is_number else word
    return arguments
