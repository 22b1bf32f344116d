"""One reading: a cell means the same on every path, however it is written, or is refused on every path."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.context import Parts
from tests.worker.networks.networks import run_onnx
from worker.data.cells import MISSING
from worker.errors import DataError
from worker.networks.predictor import Predictor
from worker.records.identifiers import DEFAULT_PROJECT
from worker.running.predicting import predict_table
from worker.specs.dataset import StoredDataset
from worker.specs.prediction import PredictionOptions

NAMES = ["n", "grade", "flag", "city", "day"]
ROW = {"n": 2, "grade": "1", "flag": True, "city": "K\u00f6ln", "day": "2026-01-07"}
NUMERIC = ("n", "day")
SPELLINGS: dict[str, dict[str, list[Any]]] = {
    "n": {"2": [2, 2.0, "2", " 2 ", "+2", "2.0", "2e0", "02"], "missing": [None, float("nan"), *MISSING, " NA\t"]},
    "grade": {
        "1": [1, 1.0, "1", "1.0", " 1", "1.00 "],
        "0": [0, -0.0, "0", "-0", "0.0"],
        "2.5": [2.5, "2.5", " 2.5"],
        "missing": [None, float("nan"), *MISSING, " n/a "],
    },
    "flag": {"true": [True, "true", "True", "TRUE", " true"], "false": [False, "FALSE", "false"]},
    "day": {
        "noon": ["2026-01-05T12:00", " 2026-1-5 12:00 ", "2026-01-05 12:00:00Z", "2026-01-05T13:00:00.000+01:00"],
        "midnight": ["2026-01-05", "2026-01-04 24:00", 1767571200, "1767571200", 1767571200.0],
        "missing": [None, "", "NA"],
    },
    "city": {
        "Koeln": ["K\u00f6ln", "Ko\u0308ln", "  K\u00f6ln "],
        "Bonn": ["Bonn", "Bonn\n"],
        "unknown": ["Rome", "bonn", "Tru", "1_0"],
    },
}
REFUSED: dict[str, list[Any]] = {
    "day": ["2026-02-30", "5.1.2026", "noon", True],
    "n": ["two", True, "true", "1_0", "1,5", "\u0662", "0x1"],
}
CELLS = [(name, means, cell) for name, known in SPELLINGS.items() for means, cells in known.items() for cell in cells]
GRADES, CITIES = ("1", "0", " 2.5", "NA", "x"), ("Bonn", "Ko\u0308ln ", "Bonn")
TABLE = "n,grade,flag,city,day,label\n" + "".join(
    f"{n % 7},{GRADES[n % 5]},{('True', 'false')[n % 2]},{CITIES[n % 3]},2026-01-{1 + n % 28:02},{'ab'[n % 11 < 5]}\n"
    for n in range(60)
)


@pytest.fixture
def job_id(client: FlaskClient, succeeded: Callable[..., str]) -> str:
    uploaded = client.post("/v1/datasets", data=TABLE.encode(), content_type="text/csv").get_json()
    categories = {
        column["name"]: column["categories"] for column in uploaded["columns"] if column["name"] not in NUMERIC
    }
    assert categories == {
        "grade": ["0", "1", "2.5", "x"],
        "flag": ["false", "true"],
        "city": ["Bonn", "K\u00f6ln"],
        "label": ["a", "b"],
    }
    dataset = {"source": "stored", "id": uploaded["id"]}
    return succeeded(dataset=dataset, target=" label", model="m", training={"epochs": 2})


def text_of(cell: Any) -> str:
    return "" if cell is None else str(cell)


class Paths:
    """Every way to ask, each with one row; the answer is the probabilities, or None for a refusal."""

    def __init__(self, client: FlaskClient, parts: Parts, job_id: str) -> None:
        self._client, self._parts, self._job_id = client, parts, job_id
        self._predictor: Predictor = parts.predictors.of_job(DEFAULT_PROJECT, job_id).predictor
        self._onnx = client.get("/v1/models/m/versions/1/export?format=onnx").get_data()

    def ask(self, name: str, cell: Any) -> dict[str, list[float] | None]:
        row = ROW | {name: cell}
        is_text = isinstance(cell, str)
        given = {path: getattr(self, path)(row) for path in ("rows", "lists", "columns", "arrow", "records", "split")}
        given |= {path: getattr(self, path)(row) for path in ("inputs", "instances", "table", "csv")}
        if not (name in NUMERIC and is_text):
            # a tensor has types: text is no number in it
            given["tensors"] = self.tensors(row)
        if is_text and name not in NUMERIC and cell == cell.strip() and (name, cell) != ("city", "Ko\u0308ln"):
            given["onnx"] = self.onnx(row)
        return given

    def _answer(self, answer: TestResponse) -> list[float] | None:
        if answer.status_code in (400, 422):
            return None
        assert answer.status_code == 200, answer.text
        return _rounded(answer.get_json()["probabilities"][0])

    def _post(self, body: Any) -> list[float] | None:
        return self._answer(self._client.post(f"/v1/jobs/{self._job_id}/predict", json=body))

    def rows(self, row: dict[str, Any]) -> list[float] | None:
        return self._post({"rows": [_jsonable(row)]})

    def lists(self, row: dict[str, Any]) -> list[float] | None:
        return self._post({"rows": [list(_jsonable(row).values())]})

    def columns(self, row: dict[str, Any]) -> list[float] | None:
        return self._post({"columns": {f" {name}": [cell] for name, cell in _jsonable(row).items()}})

    def arrow(self, row: dict[str, Any]) -> list[float] | None:
        sink = pa.BufferOutputStream()
        table = pa.table({name: pa.array([cell]) for name, cell in row.items()})
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        kind = {"Content-Type": "application/vnd.apache.arrow.stream", "Accept": "application/json"}
        path = f"/v1/jobs/{self._job_id}/predict"
        return self._answer(self._client.post(path, data=sink.getvalue().to_pybytes(), headers=kind))

    def csv(self, row: dict[str, Any]) -> list[float] | None:
        headers = {"Content-Type": "text/csv", "Accept": "application/json"}
        return self._answer(self._client.post(f"/v1/jobs/{self._job_id}/predict", data=_csv(row), headers=headers))

    def table(self, row: dict[str, Any]) -> list[float] | None:
        """A stored table, as a worker predicts it."""
        # other rows keep a column of one cell from being read as another type
        stored = self._client.post("/v1/datasets", data=_csv(row), content_type="text/csv")
        if stored.status_code == 422:
            return None
        spec = StoredDataset(source="stored", id=stored.get_json()["id"])
        table = self._parts.datasets.load(DEFAULT_PROJECT, spec, text=self._predictor.categories)
        try:
            content = predict_table(self._predictor, table, PredictionOptions(), lambda: False)
        except DataError:
            return None
        assert content is not None
        found = pa.ipc.open_stream(content).read_all()
        names = [name for name in found.column_names if name.startswith("probability")]
        return _rounded([found[name][0].as_py() for name in names])

    def _scored(self, body: str) -> list[float] | None:
        answer = self._client.post("/models/m/invocations", data=body, content_type="application/json")
        return None if answer.status_code == 400 else answer.get_json()["predictions"]

    def records(self, row: dict[str, Any]) -> Any:
        return self._scored(json.dumps({"dataframe_records": [row]}))

    def split(self, row: dict[str, Any]) -> Any:
        return self._scored(json.dumps({"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}))

    def inputs(self, row: dict[str, Any]) -> Any:
        return self._scored(json.dumps({"inputs": {f"{name} ": [cell] for name, cell in row.items()}}))

    def instances(self, row: dict[str, Any]) -> Any:
        return self._scored(json.dumps({"instances": [list(row.values())]}))

    def tensors(self, row: dict[str, Any]) -> list[float] | None:
        tensors = [_tensor(name, _seconds(name, cell)) for name, cell in row.items()]
        answer = self._client.post("/v2/models/m/infer", data=json.dumps({"inputs": tensors}))
        if answer.status_code == 400:
            return None
        outputs = {output["name"]: output["data"] for output in answer.get_json()["outputs"]}
        return _rounded(outputs["probabilities"])

    def onnx(self, row: dict[str, Any]) -> list[float]:
        cells = {name: _seconds(name, cell) for name, cell in row.items()}
        texts = {name: pa.array([cell if name in NUMERIC else text_of(cell)], None) for name, cell in cells.items()}
        found = run_onnx(self._onnx, pa.table(texts))
        return _rounded(found["probabilities"][0])


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 5) for value in values]


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: its missing cell is null."""
    return {name: None if isinstance(cell, float) and math.isnan(cell) else cell for name, cell in row.items()}


def _csv(row: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*row, ""])
    writer.writerow([*map(text_of, row.values()), ""])
    return text.getvalue()


def _seconds(name: str, cell: Any) -> Any:
    """A tensor has types, and a time is a number in it."""
    return 1767744000 if (name, cell) == ("day", ROW["day"]) else cell


def _tensor(name: str, cell: Any) -> dict[str, Any]:
    if isinstance(cell, bool):
        return {"name": name, "shape": [1], "datatype": "BOOL", "data": [cell]}
    if cell is None and name not in NUMERIC:
        return {"name": name, "shape": [1], "datatype": "BYTES", "data": [None]}
    if cell is None or isinstance(cell, int | float):
        return {"name": name, "shape": [1], "datatype": "FP64", "data": [cell]}
    return {"name": name, "shape": [1], "datatype": "BYTES", "data": [cell]}


def test_each_spelling_means_the_same_on_every_path(client: FlaskClient, parts: Parts, job_id: str) -> None:
    """Upload, JSON, CSV, Arrow, a stored table, MLflow's forms, tensors and ONNX: one answer for each meaning."""
    paths = Paths(client, parts, job_id)
    answers: dict[tuple[str, str], Any] = {}
    for name, means, cell in CELLS:
        found = paths.ask(name, cell)
        scored = {path: found.pop(path) for path in ("records", "split", "inputs", "instances")}
        reference = answers.setdefault((name, means), found["rows"])
        assert reference is not None, (name, cell)
        assert {path: answer for path, answer in found.items() if answer != reference} == {}, (name, cell, reference)
        # MLflow's answer has the class alone
        wanted = [["a", "b"][int(np.argmax(reference))]]
        assert {path: answer for path, answer in scored.items() if answer != wanted} == {}, (name, cell)
    # the meanings are not all one
    for name, known in SPELLINGS.items():
        assert len({json.dumps(answers[name, means]) for means in known}) == len(known), name


DECLARED = "?missing=-999&missing=%3F&present=NA&delimiter=%7C"
DECLARED_SPELLINGS: dict[str, dict[str, list[Any]]] = {
    "n": {"2": [2, "2"], "missing": [-999, -999.0, "-999", " -999.0 ", "-9.99e2", "?", " ? ", None, "", "n/a"]},
    "grade": {
        "1": [1, "1"],
        "NA": ["NA", " NA "],
        "missing": ["?", " ?", "-999", "-999.0", -999, -999.0, None, "", "null"],
        "unknown": ["-998", -998],
    },
}


def test_what_a_sender_declares_missing_is_missing_on_every_path(
    client: FlaskClient, parts: Parts, succeeded: Callable[..., str]
) -> None:
    """A number and a mark mean a missing cell, and one of the usual texts does not: in the file and when asked."""
    grades = ("1", "0", "NA", "?", "x")
    lines = [
        f"{-999 if n % 4 == 3 else n % 7}|{grades[n % 5]}|true|{CITIES[n % 3]}|2026-01-07|{'ab'[n % 11 < 5]}"
        for n in range(60)
    ]
    body = "\n".join(["n|grade|flag|city|day|label", *lines])
    answer = client.post(f"/v1/datasets{DECLARED}", data=body.encode(), content_type="text/csv")
    uploaded = answer.get_json()
    found = {
        column["name"]: (column["missing"], column["minimum"], column["categories"]) for column in uploaded["columns"]
    }
    assert found["n"][:2] == (15, 0)
    assert found["grade"] == (12, None, ["0", "1", "NA", "x"])
    dataset = {"source": "stored", "id": uploaded["id"]}
    job_id = succeeded(dataset=dataset, target="label", model="m", training={"epochs": 2})
    paths, answers = Paths(client, parts, job_id), {}
    for name, known in DECLARED_SPELLINGS.items():
        for means, cells in known.items():
            for cell in cells:
                given = paths.ask(name, cell)
                scored = {path: given.pop(path) for path in ("records", "split", "inputs", "instances")}
                reference = answers.setdefault((name, means), given["rows"])
                assert {path: answer for path, answer in given.items() if answer != reference} == {}, (name, cell)
                assert None not in scored.values()
        assert len({json.dumps(answers[name, means]) for means in known}) == len(known), name
    # the same bytes, read otherwise, are another table; read alike, they are the same
    again = client.post(f"/v1/datasets{DECLARED}", data=body.encode(), content_type="text/csv")
    assert (again.status_code, again.get_json()["id"]) == (200, uploaded["id"])
    other = client.post("/v1/datasets", data=body.encode(), content_type="text/csv")
    assert (other.status_code, other.get_json()["id"] == uploaded["id"]) == (201, False)


def test_what_is_no_number_is_refused_on_every_path(client: FlaskClient, parts: Parts, job_id: str) -> None:
    """With the row, the column and the cell."""
    paths = Paths(client, parts, job_id)
    for name, cells in REFUSED.items():
        for cell in cells:
            found = paths.ask(name, cell)
            if cell in ("1,5", "5.1.2026"):
                # a stored table was read at its upload, by the form of its own numbers, and that was remarked upon
                assert found.pop("table") is not None
            assert [path for path, answer in found.items() if answer is not None] == [], (name, cell)
    answer = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [ROW, ROW | {"n": "1,5"}]}).get_json()
    (error,) = answer["errors"]
    assert (error["row"], error["column"]) == (1, "n")
    assert "'1,5'" in error["detail"]


def test_an_upload_and_a_dry_run_say_what_was_read(client: FlaskClient, post: Callable[..., TestResponse]) -> None:
    """A column that one odd cell made text, and a row's number without a name, are remarked upon."""
    table = ",size,label\n" + "".join(f"{n},{n % 9 if n else '?'},{n % 3}\n" for n in range(40))
    uploaded = client.post("/v1/datasets", data=table.encode(), content_type="text/csv").get_json()
    assert [(remark["column"], remark["code"]) for remark in uploaded["remarks"]] == [
        (None, "unnamed"),
        ("size", "mostly_numbers"),
    ]
    size = next(column for column in uploaded["columns"] if column["name"] == "size")
    assert size["not_numbers"] == {"count": 1, "row": 0, "cell": "?"}
    assert client.get(f"/v1/datasets/{uploaded['id']}").get_json() == uploaded
    dataset = {"source": "stored", "id": uploaded["id"]}
    found = post(query="?dry_run=true", dataset=dataset, target="label").get_json()["remarks"]
    assert [(remark["column"], remark["code"]) for remark in found] == [
        (None, "unnamed"),
        ("size", "mostly_numbers"),
        ("label", "few_numbers"),
    ]


def test_a_column_that_the_model_lacks_is_passed_over_with_one_warning(
    client: FlaskClient, parts: Parts, job_id: str
) -> None:
    """In rows, columns and CSV alike."""
    path = f"/v1/jobs/{job_id}/predict"
    plain = client.post(path, json={"rows": [ROW, ROW]}).get_json()
    more = ROW | {"id": 7}
    for body in ({"rows": [more, more]}, {"columns": {name: [cell] * 2 for name, cell in more.items()}}):
        answer = client.post(path, json=body).get_json()
        (warning,) = answer.pop("warnings")
        assert (warning["row"], warning["column"]) == (None, "id")
        assert answer == plain
    headers = {"Content-Type": "text/csv", "Accept": "application/json"}
    text = _csv(more) + _csv(more).split("\r\n")[1]
    answer = client.post(path, data=text, headers=headers).get_json()
    assert (len(answer.pop("warnings")), answer) == (1, plain)
