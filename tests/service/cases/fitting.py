"""Changes valid cases so that they meet real objects: bodies that fit a model, and things that may be deleted."""

import unicodedata
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import Any

import numpy as np
import pyarrow as pa
from flask.testing import FlaskClient
from schemathesis import Case
from schemathesis.transport.serialization import Binary

from service.idempotency import IDEMPOTENCY_KEY
from tests.conftest import SPEC
from tests.service.cases.expendable import EXPENDABLE
from tests.service.cases.objects import Objects
from worker.data.arrow_streams import write_arrow_stream
from worker.data.npy import NPY, write_npy
from worker.data.readers import ARROW

JSON, CSV, OCTETS = "application/json", "text/csv", "application/octet-stream"
ROWS: dict[str, dict[str, Any]] = {
    "iris": {"sepal length": 5.1, "sepal width": 3.5, "petal length": 1.4, "petal width": 0.2},
    "houses": {"city": "oslo", "area": 12},
    "tags": {"x": 1, "y": 2},
    "letters": {"colour": "red", "size": 3},
}
"A row that each model of tests.service.conftest.MODELS can predict."


class Fitting:
    """Every second valid body is replaced by one that fits; the others are sent as they were generated.

    fitted: the ids of the cases with such a body.
    """

    def __init__(self, client: FlaskClient, objects: Objects) -> None:
        self.client, self.objects = client, objects
        self.turns: Iterator[bool] = cycle((True, False))
        self.numbers = count()
        self.fitted: set[str] = set()

    def fit(self, case: Case) -> None:
        """Change the case in place, if it is meant to be valid."""
        self._spare(case)
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return
        if case.operation.path.endswith("/held-out") and next(self.turns):
            # one job of many has folds
            case.path_parameters = {"job_id": self.objects.folds}
        case.query = plain(dict(case.query or {}))
        if isinstance(case.body, dict | list):
            case.body = plain(case.body)
        key = (case.headers or {}).get(IDEMPOTENCY_KEY)
        if key is not None and next(self.turns):
            # generators write the same few keys again and again, with other bodies
            case.headers[IDEMPOTENCY_KEY] = f"{key[:200]}{next(self.numbers)}"
        make = BODIES.get(case.operation.path.rsplit("/", 1)[-1])
        if case.operation.method == "post" and make is not None and next(self.turns):
            body = make(self.objects, self._row(case))
            if body is not None:
                self.fitted.add(case.id)
                case.media_type, case.body = body
                case.headers = {k: v for k, v in (case.headers or {}).items() if k not in ENTITY_HEADERS}
                case.headers["Content-Type"] = case.media_type

    def _spare(self, case: Case) -> None:
        """Let a case delete or stop something made for it: always what others need, and else every second time."""
        make, named = EXPENDABLE.get((case.operation.method, case.operation.path)), dict(case.path_parameters or {})
        if make is None:
            return
        name = list(named)[-1]
        if (named[name] in self.objects.ids[name] and name not in PROTECTED) or next(self.turns):
            case.path_parameters = named | make(self.client, self.objects.ids)

    def _row(self, case: Case) -> dict[str, Any]:
        """Return a row for the model that the case names; that of iris if it names none of ours."""
        named = dict(case.path_parameters or {})
        name = self.objects.models.get(str(named.get("job_id"))) or str(named.get("name"))
        return ROWS.get(name, ROWS["iris"])


ENTITY_HEADERS = ("Content-Type", "Content-Encoding", "Inference-Header-Content-Length")
PROTECTED = ("name", "version", "dataset_id")
"What a kept alias or a job protects from being deleted."
Body = tuple[str, Any] | None
turn = cycle(range(60))


def plain(value: Any) -> Any:
    """Return a generated value as a client would send it.

    To JSON Schema 5.0 is an integer; no client's encoder writes an integer so. And most of the characters that a
    generator finds past U+FFFF are unassigned, which is refused, and which no pattern can say in every language.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, str):
        return "".join("?" if _is_refused(letter) else letter for letter in value)
    if isinstance(value, dict):
        return {plain(name): plain(member) for name, member in value.items()}
    return [plain(member) for member in value] if isinstance(value, list) else value


def _is_refused(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return kind == "Cn" or (letter > "\uffff" and kind.startswith("C"))


def _job(objects: Objects, _row: dict[str, Any]) -> Body:
    start = {"start_from": {"job": objects.ids["job_id"][0]}} if next(turn) % 3 == 0 else {}
    return JSON, SPEC | {"training": {"epochs": 2, "seed": next(turn)}} | start


def _retry(_objects: Objects, _row: dict[str, Any]) -> Body:
    return JSON, {"name": "again", "training": {"seed": next(turn)}}


def _predict(_objects: Objects, row: dict[str, Any]) -> Body:
    cells = list(row.values())
    forms: list[Body] = [
        (JSON, {"rows": [row, cells]}),
        (JSON, {"columns": {name: [cell] for name, cell in row.items()}}),
        (JSON, {"dataset": {"source": "builtin", "name": "iris"}}),
        (CSV, _csv(row)),
        (ARROW, Binary(write_arrow_stream(pa.table({name: [cell] for name, cell in row.items()})))),
    ]
    if all(isinstance(cell, float) for cell in cells):
        forms.append((NPY, Binary(write_npy(np.array([cells])))))
    return forms[next(turn) % len(forms)]


def _csv(row: dict[str, Any]) -> str:
    return f"{','.join(row)}\n{','.join(map(str, row.values()))}\n"


def _infer(_objects: Objects, row: dict[str, Any]) -> Body:
    if "petal width" in row:
        data = [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": list(row.values())}]
    else:
        data = [
            {"name": name, "shape": [1, 1], "datatype": "BYTES" if isinstance(cell, str) else "FP64", "data": [cell]}
            for name, cell in row.items()
        ]
    return JSON, {"inputs": data}


def _invoke(_objects: Objects, row: dict[str, Any]) -> Body:
    forms: list[Body] = [
        (JSON, {"dataframe_records": [row]}),
        (JSON, {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}),
        (JSON, {"instances": [list(row.values())]}),
        (JSON, {"inputs": {name: [cell] for name, cell in row.items()}}),
        (CSV, _csv(row)),
    ]
    return forms[next(turn) % len(forms)]


def _table(_objects: Objects, _row: dict[str, Any]) -> Body:
    return CSV, f"x,label\n{next(turn)},a\n2,b\n"


def _weights(objects: Objects, _row: dict[str, Any]) -> Body:
    return OCTETS, Binary(objects.weights)


def _register(objects: Objects, _row: dict[str, Any]) -> Body:
    jobs = objects.ids["job_id"]
    return JSON, {"name": f"registered-{next(turn) % 5}", "job_id": jobs[next(turn) % len(jobs)]}


def _explain(_objects: Objects, _row: dict[str, Any]) -> Body:
    return JSON, {"weight": {"layer": 0, "from": "bias", "to": next(turn) % 4}, "dataset_row": next(turn) % 40}


BODIES: dict[str, Callable[[Objects, dict[str, Any]], Body]] = {
    "jobs": _job,
    "retry": _retry,
    "predict": _predict,
    "infer": _infer,
    "invocations": _invoke,
    "datasets": _table,
    "versions": _weights,
    "models": _register,
    "chain-rule": _explain,
}
"By the last segment of the path."
