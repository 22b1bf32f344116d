"""Bodies that must be refused, each with a clear problem and its pointer; never a 500."""

import io
import json
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import BaseModel, ValidationError
from sqlalchemy import update

from service.app import all_operations, create_app
from service.context import EXTENSION, Parts
from service.open_inference.schemas import InferRequest
from service.predict.schemas import PredictRequest
from service.schemas.chain_rule import ChainRuleRequest
from service.scoring.schemas import ScoringRequest
from service.settings import ServiceSettings
from tests.conftest import SPEC
from tests.service.conftest import KEY
from worker.records.tables import Job as JobRow
from worker.specs.imports import Description
from worker.specs.job import Job

JSON = "application/json"


def raw(text: str, **changes: Any) -> bytes:
    """Return the iris job with this text as the value of one member."""
    name, _ = next(iter(changes.items()), ("metadata", None))
    document = json.dumps({key: value for key, value in SPEC.items() if key != name})
    return f'{document[:-1]}, "{name}": {text}}}'.encode()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"name": "a", "name": "b"}', "appears twice"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"a":' * 50 + b"1" + b"}" * 50, "nested deeper"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        (b'\xff\xfe{"a": 1}', "not UTF-8: byte 0"),
        ('{"a": "\u00e9"}'.encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_malformed_body_is_a_400(client: FlaskClient, body: bytes, said: str) -> None:
    """A body that is not strict JSON is a 400 that says why."""
    answer = client.post("/v1/jobs", data=body, content_type=JSON)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    assert said in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"null", ""),
        (b"[]", ""),
        (b"{}", "/dataset"),
        (raw("1e400", name=0), "/name"),
        (raw('{"l2": 1e400}', training=0), "/training/l2"),
        (raw('{"epochs": true}', training=0), "/training/epochs"),
        (raw('{"epochs": 5.0}', training=0), "/training/epochs"),
        (raw('{"epochs": ' + "9" * 4000 + "}", training=0), "/training/epochs"),
        (raw('"\\ud800"', name=0), "/name"),
        (raw('"a\\u0000b"', name=0), "/name"),
        (raw("1", bogus=0), "/bogus"),
        (raw('{"source": "builtin"}', dataset=0), "/dataset/name"),
        (raw('{"source": "nowhere"}', dataset=0), "/dataset/source"),
        (raw('{"layers": [{"type": "dense"}]}', network=0), "/network/layers/0/units"),
        (raw('{"layers": [{"type": "dense", "units": 1000000}]}', network=0), "/network/layers/0/units"),
        (
            raw('{"layers": [{"type": "dense", "units": 65536}, {"type": "dense", "units": 65536}]}', network=0),
            "/network/layers",
        ),
        (raw('{"x": 18446744073709551616}'), "/metadata/x"),
        (raw('{"x": -9223372036854775809}'), "/metadata/x"),
        (raw('{"x": [0, 1e400]}'), "/metadata/x/1"),
        (raw('{"x": {"a/b": "\\ud800"}}'), "/metadata/x/a~1b"),
        (raw('{"x": {"\\ud800": 1}}'), "/metadata/x"),
        (raw('{"x": "a\\u0000b"}'), "/metadata/x"),
        (raw('{"x": {"\\u0000": 1}}'), "/metadata/x"),
        (raw('{"x": "' + "y" * 20_000 + '"}'), "/metadata"),
        (raw('{"epochs": 1000000, "batch_size": 1, "bogus": 1}', training=0), "/training/bogus"),
        (raw('{"loss": "mean_error"}', training=0), "/training/loss"),
        (raw('{"loss": {"type": "hubr"}}', training=0), "/training/loss/type"),
        (raw('{"loss": {"type": "huber", "delta": -1}}', training=0), "/training/loss/delta"),
        (raw('{"loss": "huber"}', training=0), "/training/loss"),
        (raw('{"metrics": ["accuracy", "rmse"]}', training=0), "/training/metrics/1"),
        (raw('{"early_stopping": {"monitor": "validation_r2"}}', training=0), "/training/early_stopping/monitor"),
        (raw('{"optimizer": {"type": "lion", "beta1": 1}}', training=0), "/training/optimizer/beta1"),
        (raw('{"schedule": {"type": "cosine", "warmup": 1}}', training=0), "/training/schedule/warmup"),
        (
            raw('{"layers": [{"type": "residual", "layers": [{"type": "dense", "units": 0}]}]}', network=0),
            "/network/layers/0/layers/0/units",
        ),
        (
            raw('{"layers": [{"type": "residual", "layers": [{"type": "dense", "units": 3}]}]}', network=0),
            "/network/layers/0/layers/0",
        ),
        (raw('{"layers": [{"type": "embedding", "column": "x"}]}', network=0), "/network/layers/0/column"),
        (raw('"nothing"', weight=0), "/weight"),
        (raw('"nothing"', target=0), "/target"),
        (raw('["a/b"]', features=0), "/features/0"),
        (raw('{"a/b": {"type": "ignore"}}', columns=0), "/columns/a~1b"),
        (raw('{"a~/b": {"type": "ignore"}}', columns=0), "/columns/a~0~1b"),
        (raw('{"a~/b": {"type": 7}}', columns=0), "/columns/a~0~1b/type"),
        (raw('{"source": "stored", "id": "dst_%s"}' % ("0" * 32), dataset=0), "/dataset/id"),
        (raw('{"source": "inline", "columns": ["x", "label"], "rows": [[1, "a"], [2]]}', dataset=0), "/dataset/rows/1"),
        (
            raw('{"source": "inline", "columns": ["x", "label"], "rows": [[1, "a"], ["b", "b"]]}', dataset=0),
            "/dataset/rows/1/0",
        ),
        (raw('{"source": "inline", "columns": ["x", "x"], "rows": [[1, 2], [2, 3]]}', dataset=0), "/dataset/columns"),
    ],
)
def test_an_invalid_member_is_a_422_with_its_pointer(client: FlaskClient, body: bytes, pointer: str) -> None:
    """Each member that is not valid is a 422 with its JSON Pointer."""
    answer = client.post("/v1/jobs", data=body, content_type=JSON)
    assert answer.status_code == 422, answer.get_json()
    problem = answer.get_json()
    assert pointer in [error["pointer"] for error in problem["errors"]], problem
    assert problem["instance"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-16", "", "application/xml"])
def test_another_content_type_is_a_415(client: FlaskClient, content_type: str) -> None:
    """A body of another media type or charset is a 415."""
    assert client.post("/v1/jobs", data=b"{}", content_type=content_type).status_code == 415


def test_every_fault_is_told_at_once_but_no_more_than_twenty(client: FlaskClient) -> None:
    """One answer lists all faults, up to twenty."""
    layers = [{"type": "dense", "units": 0}] * 30
    errors = client.post("/v1/jobs", json=SPEC | {"network": {"layers": layers}}).get_json()["errors"]
    assert [error["pointer"] for error in errors] == [f"/network/layers/{n}/units" for n in range(20)]


MANY = 100_000
UNKNOWN = {f"a{n}": 1 for n in range(MANY)}
ROWS = {"source": "inline", "columns": ["a", "b"], "rows": [[{}]] * MANY}


@pytest.mark.parametrize(
    ("model", "document", "place"),
    [
        (Job, SPEC | {"tags": [{}] * MANY}, ("tags",)),
        (Job, SPEC | {"network": {"layers": [{}] * MANY}}, ("network", "layers")),
        (Job, SPEC | {"training": UNKNOWN}, ("training",)),
        (Job, SPEC | {"columns": UNKNOWN}, ("columns",)),
        (Job, SPEC | {"metadata": UNKNOWN}, ("metadata",)),
        (Job, SPEC | {"features": [1] * MANY}, ("features",)),
        (Job, SPEC | {"dataset": ROWS}, ("dataset", "inline", "rows", 0, 0, "bool")),
        (Job, SPEC | {"dataset": ROWS | {"rows": [[{}] * MANY]}}, ("dataset", "inline", "rows", 0, 0, "bool")),
        (Job, SPEC | UNKNOWN, ()),
        (PredictRequest, {"rows": [1] * MANY}, ("rows", 0, "dict[str,any]")),
        (PredictRequest, {"columns": UNKNOWN}, ("columns",)),
        (PredictRequest, UNKNOWN, ()),
        (ChainRuleRequest, {"rows": [1] * MANY}, ("rows",)),
        (ChainRuleRequest, {"dataset_rows": ["x"] * MANY}, ("dataset_rows",)),
        (ScoringRequest, {"dataframe_records": [1] * MANY}, ("dataframe_records", 0)),
        (ScoringRequest, {"dataframe_split": {"data": [1] * MANY}}, ("dataframe_split", "data", 0)),
        (ScoringRequest, {"inputs": UNKNOWN}, ("inputs", "list[any]")),
        (InferRequest, {"inputs": [{}] * MANY}, ("inputs",)),
        (InferRequest, {"inputs": [], "outputs": [{}] * MANY}, ("outputs",)),
        (Description, {"features": [1] * MANY}, ("features",)),
    ],
)
def test_of_many_faults_only_a_few_are_looked_for(
    model: type[BaseModel], document: Any, place: tuple[Any, ...]
) -> None:
    """Of 100,000 faults of one kind, validation finds at most 20, and the first has its place."""
    with pytest.raises(ValidationError) as refused:
        model.model_validate(document)
    assert refused.value.error_count() <= 20
    assert place in [fault["loc"] for fault in refused.value.errors()]


TABLES = {"rows", "columns", "data", "dataframe_records", "instances", "inputs"}
"""The members whose size only the memory of the whole body limits. Validation stops at their first fault, or does not
look at what they contain."""
FREE = {"row", "target", "params", "parameters", "InputParameters", "OutputParameters", "InferParameters"}
"Members whose names are not ours, and of which none but our own is looked at."


def test_every_list_and_object_has_a_limit() -> None:
    """Of everything that a client sends, only a table may have any number of elements."""
    unlimited = set()
    models = {known.body or known.documented_body for known in all_operations()} - {None}
    for name, schema in chain.from_iterable(_named(model.model_json_schema(), model.__name__) for model in models):
        is_list = schema.get("type") == "array" and "maxItems" not in schema
        is_object = bool(schema.get("additionalProperties")) and "maxProperties" not in schema
        if is_list or is_object:
            unlimited.add(name)
    assert len(models) > 8
    assert unlimited <= TABLES | FREE


def _named(schema: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every schema within this one, with the name of the member that it describes."""
    if isinstance(schema, list):
        yield from chain.from_iterable(_named(each, name) for each in schema)
    elif isinstance(schema, dict):
        yield name, schema
        for word, inner in schema.items():
            if word in ("properties", "$defs"):
                yield from chain.from_iterable(_named(each, key) for key, each in inner.items())
            elif word in ("items", "anyOf", "oneOf", "additionalProperties", "prefixItems"):
                yield from _named(inner, name)


def test_json_that_would_take_too_much_memory_is_a_413(client: FlaskClient, app: Any) -> None:
    """JSON is refused by the memory that its values would take, and the refusal names the limit."""
    for body in (
        b'{"a": [' + b"[]," * 1_000_000 + b"1]}",
        b'{"a": "' + b"x" * 30_000_000 + "\N{GRINNING FACE}".encode() + b'"}',
    ):
        answer = client.post("/v1/jobs", data=body, content_type=JSON)
        assert answer.status_code == 413, answer.text[:300]
        assert "GRADMILL_JSON_MEMORY_BYTES_LIMIT" in answer.get_json()["detail"]


def test_a_body_over_the_limit_is_a_413(client: FlaskClient, app: Any) -> None:
    """A body that is longer than the limit is a 413."""
    app.config["MAX_CONTENT_LENGTH"] = 1000
    answer = client.post("/v1/jobs", json=SPEC | {"metadata": {"x": "y" * 2000}})
    assert (answer.status_code, answer.get_json()["code"]) == (413, "too_large")


@pytest.mark.parametrize("media_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_of_a_page_has_at_most_a_few_kilobytes(app: Any, parts: Parts, media_type: str) -> None:
    """A form is refused by its size before any of it is parsed: no key is needed to send one to the login page."""
    body = io.BytesIO(b"a&" * 10_000_000)
    answer = app.test_client().post("/ui/login", input_stream=body, content_length=20_000_000, content_type=media_type)
    assert answer.status_code == 413
    assert body.tell() == 0


def test_a_form_sent_to_the_api_is_not_read(client: FlaskClient) -> None:
    """An address that takes no form refuses one by its media type."""
    body = io.BytesIO(b"a&" * 10_000)
    kind = "application/x-www-form-urlencoded"
    answer = client.post("/v1/jobs", input_stream=body, content_length=20_000, content_type=kind)
    assert (answer.status_code, body.tell()) == (415, 0)


def test_metadata_of_an_older_version_can_still_be_read(
    client: FlaskClient, succeeded: Callable[..., str], parts: Parts
) -> None:
    """The limit of metadata is one of submissions: a stored job that has more is shown and explained."""
    job_id = succeeded()
    with parts.database.reading() as session:
        spec = dict(session.get_one(JobRow, job_id).spec)
    spec["metadata"] = {"a": "y" * 20_000}
    parts.database.write(lambda session: session.execute(update(JobRow).values(spec=spec)))
    assert client.get(f"/v1/jobs/{job_id}/histograms").status_code == 200


def test_hostile_text_is_data(client: FlaskClient) -> None:
    """SQL, markup, templates and paths in names come back as they are."""
    for name in ("'; DROP TABLE jobs; --", "<img src=x onerror=alert(1)>", "{{ 7*7 }}", "../../etc/passwd"):
        job = client.post("/v1/jobs", json=SPEC | {"name": name}).get_json()
        assert client.get(job["links"]["self"]).get_json()["name"] == name
    assert client.get("/v1/jobs?name='%20OR%201=1").get_json()["data"] == []


def test_metadata_comes_back_in_its_order(client: FlaskClient) -> None:
    """Metadata keep their values and the order of their members."""
    metadata = {"z": 1, "a": {"y": None, "b": [True, 0.1, "\u00e9"]}}
    # as text: the client's own json= would sort the members
    body = json.dumps(SPEC | {"metadata": metadata})
    job = client.post("/v1/jobs", data=body, content_type=JSON).get_json()
    shown = client.get(job["links"]["self"]).get_json()["metadata"]
    assert (shown, list(shown)) == (metadata, ["z", "a"])


@pytest.mark.parametrize("path", ["/v1/jobs/a%00", "/v1/datasets/a%00", "/v1/predictions/a%00", "/v1/models/a%00"])
def test_a_nul_in_an_address_is_not_found_on_postgresql(
    settings: ServiceSettings, postgresql_url: str, path: str
) -> None:
    """A NUL in an address is a 404 on PostgreSQL too, which can't store such text."""
    app = create_app(settings.model_copy(update={"database_url": postgresql_url}))
    parts: Parts = app.extensions[EXTENSION]
    answer = app.test_client().get(path, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 404
    parts.live.close()
    parts.live.join()
    parts.doorbell.close()
    parts.database.close()
