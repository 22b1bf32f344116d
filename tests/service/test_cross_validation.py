"""Cross-validation over HTTP: figures of each fold, the predictions for what was held out, and the ensemble of them."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from service.context import Parts
from worker.records.tables import Blob

FOLDS: dict[str, Any] = {"epochs": 15, "validation": {"folds": 5}}


def held_out(client: FlaskClient, job_id: str) -> pa.Table:
    kind = {"Accept": "application/vnd.apache.arrow.stream"}
    return pa.ipc.open_stream(client.get(f"/v1/jobs/{job_id}/held-out", headers=kind).data).read_all()


def test_each_row_is_predicted_by_the_network_that_did_not_train_on_it(
    client: FlaskClient, post: Callable[..., TestResponse], succeeded: Callable[..., str]
) -> None:
    """The figures are those of these predictions; folds keep the share of each class."""
    job: dict[str, Any] = {"dataset": {"source": "builtin", "name": "iris"}, "target": "label"}
    job |= {"training": FOLDS | {"test": {"fraction": 0.2}}}
    assert post(query="?dry_run=true", **job).get_json()["rows"] == {"train": 96, "validation": 24, "test": 30}
    job_id = succeeded(**job)
    evaluation = client.get(f"/v1/jobs/{job_id}/evaluation").get_json()["validation"]
    found = held_out(client, job_id)
    assert sorted(found["row"].to_pylist()) == found["row"].to_pylist()
    assert len(set(found["row"].to_pylist())) == evaluation["rows"] == 120
    labels = [name for name in ("setosa", "versicolor", "virginica") for _ in range(50)]
    true = np.array([labels[row] for row in found["row"].to_pylist()])
    right, fold = np.array(found["prediction"].to_pylist()) == true, found["fold"].to_numpy()
    assert right.mean() == pytest.approx(evaluation["metrics"]["accuracy"])
    figures = {figure["name"]: figure for figure in evaluation["folds"]}
    each = [right[fold == n].mean() for n in range(5)]
    assert figures["accuracy"]["each"] == pytest.approx(each)
    assert figures["accuracy"]["mean"] == pytest.approx(np.mean(each))
    assert figures["accuracy"]["deviation"] == pytest.approx(np.std(each, ddof=1))
    assert {(n, name): int((true[fold == n] == name).sum()) for n in range(5) for name in set(labels)} == {
        (n, name): 8 for n in range(5) for name in set(labels)
    }
    # the curve has the mean of the folds
    curve = client.get(f"/v1/jobs/{job_id}/curve").get_json()
    assert curve["validation_loss"][-1] == pytest.approx(figures["loss"]["mean"], rel=1e-5)
    # the result is an ensemble
    row = {"sepal length": 5.1, "sepal width": 3.5, "petal length": 1.4, "petal width": 0.2}
    answer = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [row]}).get_json()
    assert (answer["predictions"], len(answer["spread"][0])) == (["setosa"], 3)


def test_numbers_are_held_out_in_their_own_units(
    client: FlaskClient, parts: Parts, succeeded: Callable[..., str]
) -> None:
    """As CSV too; rows that lack a target have no prediction, and keep their numbers."""
    lines = ["x,y", *(f"{n},{'' if n % 10 == 3 else 1000 + 7 * n}" for n in range(60))]
    uploaded = client.post("/v1/datasets", data="\n".join(lines).encode(), content_type="text/csv").get_json()
    job_id = succeeded(
        dataset={"source": "stored", "id": uploaded["id"]},
        target="y",
        missing_target="drop",
        training={"epochs": 200, "validation": {"folds": 3}, "early_stopping": {"patience": 50}},
    )
    answer = client.get(f"/v1/jobs/{job_id}/held-out")
    table = np.genfromtxt(io.BytesIO(answer.data), delimiter=",", names=True)
    assert sorted(table["row"]) == [n for n in range(60) if n % 10 != 3]
    assert np.corrcoef(table["prediction"], 1000 + 7 * table["row"])[0, 1] > 0.9
    etag = answer.headers["ETag"]
    again = client.get(f"/v1/jobs/{job_id}/held-out", headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}/held-out").status_code == 404
    with parts.database.reading() as session:
        assert session.scalars(select(Blob.id)).all() == []


def test_a_job_without_folds_has_nothing_held_out(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    assert client.get(f"/v1/jobs/{succeeded()}/held-out").status_code == 404


@pytest.mark.parametrize(
    ("training", "pointer"),
    [
        ({"ensemble": 2}, "/training/ensemble"),
        ({"split": {"type": "grouped", "column": "petal width"}}, "/training/validation/folds"),
        ({"validation": {"folds": 5, "fraction": 0.5}}, "/training/validation/fraction"),
        ({"validation": {"folds": 21}}, "/training/validation/folds"),
        ({"validation": {"folds": 20}, "test": {"fraction": 0.9}}, "/training/validation/folds"),
        ({"validation": {"folds": 20, "stratify": True}, "test": {"fraction": 0.7}}, "/training/validation/stratify"),
    ],
)
def test_settings_that_contradict_folds_are_refused(
    post: Callable[..., TestResponse], training: dict[str, Any], pointer: str
) -> None:
    job = {"dataset": {"source": "builtin", "name": "iris"}, "target": "label", "training": FOLDS | training}
    answer = post(**job)
    assert (answer.status_code, answer.get_json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    ("lines", "job"),
    [
        # four rows have both targets
        (
            ["x,a,b", *(f"{n},{'' if n < 8 else n},{'' if 8 <= n < 16 else n}" for n in range(20))],
            {"target": ["a", "b"], "missing_target": "drop", "training": {"validation": {"folds": 6}}},
        ),
        (
            ["x,a,w", *(f"{n},{n % 2},{int(n == 5)}" for n in range(48))],
            {"target": "a", "weight": "w", "training": {"validation": {"folds": 3}}},
        ),
    ],
)
def test_folds_that_can_not_be_measured_are_a_fault_of_the_data(
    client: FlaskClient,
    post: Callable[..., TestResponse],
    run: Callable[[str], str | None],
    lines: list[str],
    job: dict[str, Any],
) -> None:
    uploaded = client.post("/v1/datasets", data="\n".join(lines).encode(), content_type="text/csv").get_json()
    job_id = post(dataset={"source": "stored", "id": uploaded["id"]}, **job).get_json()["id"]
    assert run(job_id) == "failed"
    assert client.get(f"/v1/jobs/{job_id}").get_json()["error"]["code"] == "invalid_data"
