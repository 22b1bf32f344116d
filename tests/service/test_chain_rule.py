"""The chain rule over HTTP: on rows posted and stored, at any checkpoint, checked by the training itself."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from safetensors import numpy as safetensors
from werkzeug.test import TestResponse

from service.context import Parts
from worker.insight import bounds
from worker.running.run import Runner

XOR: dict[str, Any] = {
    "dataset": {"source": "builtin", "name": "xor"},
    "network": {"layers": [{"type": "dense", "units": 3, "activation": "tanh"}]},
}
WEIGHT = {"layer": 0, "from": 1, "to": 2}
Ask = Callable[..., Any]


@pytest.fixture
def ask(client: FlaskClient) -> Ask:
    """The answer to a question about a job, or its problem."""

    def ask(job_id: str, **body: Any) -> Any:
        answer = client.post(f"/v1/jobs/{job_id}/chain-rule", json={"weight": WEIGHT} | body)
        return answer.get_json() | {"http": answer.status_code}

    return ask


def arrays_of(client: FlaskClient, job_id: str, checkpoint: object) -> dict[str, Any]:
    return dict(safetensors.load(client.get(f"/v1/jobs/{job_id}/weights?checkpoint={checkpoint}").data))


def test_the_factors_of_one_weight_multiply_to_a_gradient_computed_apart(
    client: FlaskClient, succeeded: Callable[..., str], ask: Ask
) -> None:
    """Forward and backward in NumPy from the weights file, for row 1 of the xor table: (0, 1) -> 1."""
    job_id = succeeded(**XOR)
    found = ask(job_id, dataset_row=1)
    arrays = {name: array.astype(np.float64) for name, array in arrays_of(client, job_id, "final").items()}
    # 0 and 1, standardised
    x, y = np.array([-1.0, 1.0]), np.array([0.0, 1.0])
    a = np.tanh(x @ arrays["layers.0.w"] + arrays["layers.0.b"])
    z = a @ arrays["layers.1.w"] + arrays["layers.1.b"]
    p = np.exp(z) / np.exp(z).sum()
    grad_a = arrays["layers.1.w"] @ (p - y)
    assert found["loss"] == pytest.approx(-np.log(p[1]), rel=1e-12)
    weight = found["weight"]
    assert weight["value"] == arrays["layers.0.w"][1, 2]
    assert weight["dL_da"] == pytest.approx(grad_a[2], rel=1e-10)
    assert weight["da_dz"] == pytest.approx(1 - a[2] ** 2, rel=1e-10)
    assert weight["dz_dw"] == 1
    assert weight["gradient"] == pytest.approx(grad_a[2] * (1 - a[2] ** 2), rel=1e-10)
    assert weight["relative_error"] < 1e-6
    assert (weight["verdict"], weight["agrees"], weight["kink"]) == ("agrees", True, False)
    np.testing.assert_allclose(found["layers"][1]["a"], p, rtol=1e-10)
    np.testing.assert_allclose(found["layers"][1]["grad_z"], p - y, rtol=1e-10)
    assert [layer["type"] for layer in found["layers"]] == ["dense", "dense"]
    assert found["checkpoint"] == {"kind": "final", "epoch": 5, "step": 0}


def test_posted_and_stored_rows_give_the_same(succeeded: Callable[..., str], ask: Ask) -> None:
    """By number, by column name, in feature order; alone and in a batch."""
    job_id = succeeded(**XOR)
    stored = ask(job_id, dataset_row=2)
    assert stored == ask(job_id, row=[1, 0], target="1")
    assert stored == ask(job_id, row={"x2": 0, "x1": 1}, target=1)
    assert stored["weight"] != ask(job_id, dataset_row=2, target=0)["weight"]
    batch = ask(job_id, dataset_rows=[3, 2])
    assert [row["row"] for row in batch["weight"]["rows"]] == [3, 2]
    assert batch["weight"]["rows"][1]["product"] == pytest.approx(stored["weight"]["gradient"], rel=1e-12)
    posted = ask(job_id, rows=[[1, 1], [1, 0]], targets=[0, 1])
    assert posted["weight"]["gradient"] == batch["weight"]["gradient"]
    assert [row["row"] for row in posted["weight"]["rows"]] == [0, 1]


@pytest.mark.parametrize(
    "optimizer",
    [
        {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
        {"type": "adam", "learning_rate": 0.05},
        {"type": "adamw", "learning_rate": 0.05, "weight_decay": 0.1},
        {"type": "nadam", "learning_rate": 0.05},
        {"type": "rmsprop", "learning_rate": 0.05},
        {"type": "lion", "learning_rate": 0.01},
    ],
)
def test_the_update_told_of_a_stopped_job_is_the_one_that_it_then_makes(
    optimizer: dict[str, Any],
    post: Callable[..., TestResponse],
    run: Callable[[str], str | None],
    client: FlaskClient,
    parts: Parts,
    ask: Ask,
) -> None:
    """All four rows of xor are one batch: the mean over them, from the checkpoint's slots, is the second epoch."""
    training = {"epochs": 2, "optimizer": optimizer, "precision": "float64", "l2": 0.01, "clip_norm": 0.05}
    job_id = post(**XOR, training=training).get_json()["id"]
    stopped = threading.Event()
    stopped.set()
    runner = Runner(parts.database, parts.datasets, parts.settings, stopped, "wrk_test", parts.doorbell.announce)
    assert runner.run_job(job_id) == "queued"
    questions = [WEIGHT, {"layer": 1, "from": 0, "to": 1}, {"layer": 0, "from": "bias", "to": 0}]
    told = [ask(job_id, dataset_rows=[0, 1, 2, 3], checkpoint="latest", weight=weight) for weight in questions]
    assert told[0]["checkpoint"] == {"kind": "checkpoint", "epoch": 1, "step": 0}
    assert told[0]["weight"]["update"]["state"] == {"of": "checkpoint", "steps": 1}
    assert run(job_id) == "succeeded"
    after = arrays_of(client, job_id, 2)
    for answer in told:
        weight = answer["weight"]
        expected = after[weight["name"]][tuple(weight["index"])]
        assert weight["update"]["new_value"] == pytest.approx(expected, rel=1e-12)
        assert weight["update"]["new_value"] != weight["value"]


def test_a_regressions_loss_is_in_the_units_that_it_was_trained_in(
    client: FlaskClient, succeeded: Callable[..., str], ask: Ask
) -> None:
    """The target is standardised by the encoders of the record, and the answer says so."""
    job_id = succeeded(dataset={"source": "builtin", "name": "diabetes"}, target="target")
    found = ask(job_id, dataset_row=7)
    predicted = found["layers"][-1]["a"][0]
    assert "standardised" in found["loss_units"]
    assert found["loss"] == pytest.approx((predicted - found["output"]["y"][0]) ** 2)
    row = client.post(f"/v1/jobs/{job_id}/chain-rule", json={"row": [1.0] * 10, "target": 150, "weight": WEIGHT})
    header = client.get(f"/v1/jobs/{job_id}/weights").data
    assert row.get_json()["output"]["y"][0] == pytest.approx(found["output"]["y"][0], abs=5)
    assert b"scales" in header
    assert not found["output"]["fused"]


def test_any_kept_checkpoint_can_be_asked(client: FlaskClient, succeeded: Callable[..., str], ask: Ask) -> None:
    """An epoch as a number or as text; the value is that of its weights file."""
    job_id = succeeded(**XOR)
    for checkpoint in (1, "2", "final", "latest"):
        found = ask(job_id, dataset_row=0, checkpoint=checkpoint)
        expected = arrays_of(client, job_id, checkpoint)["layers.0.w"][1, 2]
        assert found["weight"]["value"] == expected
    assert ask(job_id, dataset_row=0, checkpoint=9)["http"] == 404
    assert ask(job_id, dataset_row=0, checkpoint="last")["http"] == 422


def test_each_member_of_an_ensemble_is_a_network_of_its_own(
    client: FlaskClient, succeeded: Callable[..., str], ask: Ask
) -> None:
    """A question about a member of an ensemble is answered with that member's weights."""
    job_id = succeeded(**XOR, training={"ensemble": 3})
    arrays = arrays_of(client, job_id, "final")
    for member in (0, 2):
        found = ask(job_id, dataset_row=0, member=member)
        assert found["weight"]["value"] == arrays[f"members.{member}.layers.0.w"][1, 2]
        assert (found["member"], found["weight"]["agrees"]) == (member, True)
    refused = ask(job_id, dataset_row=0, member=3)
    assert (refused["http"], refused["errors"][0]["pointer"]) == (422, "/member")


def test_blocks_normalisations_and_embeddings_have_addresses(succeeded: Callable[..., str], ask: Ask) -> None:
    """A scale within a residual block, and a category's point, whose category is named."""
    layers: list[dict[str, Any]] = [
        {"type": "embedding", "column": "kind", "dimensions": 2},
        {"type": "residual", "layers": [{"type": "dense", "units": 3}, {"type": "batch_norm"}]},
    ]
    rows = [[float(n), "abc"[n % 3], "xy"[n % 2]] for n in range(30)]
    dataset = {"source": "inline", "columns": ["n", "kind", "label"], "rows": rows}
    refusing = {"kind": {"type": "categorical", "unknown": "refuse"}}
    training = {"epochs": 2, "batch_size": 8}
    job_id = succeeded(dataset=dataset, columns=refusing, network={"layers": layers}, training=training)
    scale = ask(job_id, dataset_row=4, weight={"layer": 1, "inner": 1, "from": "scale", "to": 0})
    assert scale["weight"]["name"] == "layers.1.layers.1.scale"
    assert [layer["type"] for layer in scale["layers"][1]["layers"]] == ["dense", "batch_norm"]
    assert any("running mean" in note for note in scale["notes"])
    point = ask(job_id, dataset_row=4, weight={"layer": 0, "from": 1, "to": 1})
    assert (point["weight"]["dz_dw"], point["weight"]["agrees"]) == (1, True)
    assert "category 1 of column 'kind' is 'b'" in point["notes"]
    other = ask(job_id, row=[1, "c"], target="y", weight={"layer": 0, "from": 1, "to": 1})
    assert (other["weight"]["dz_dw"], other["weight"]["gradient"]) == (0, 0)
    unknown = ask(job_id, row=[1, "d"], target="y", weight={"layer": 0, "from": 1, "to": 1})
    assert (unknown["http"], unknown["errors"][0]["pointer"]) == (422, "/row")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"dataset_row": 0, "row": [0, 1]}, ""),
        ({"row": [0, 1]}, ""),
        ({"rows": [[0, 1]]}, ""),
        ({"dataset_row": 0, "targets": [1]}, ""),
        ({"dataset_row": 4}, "/dataset_row"),
        ({"dataset_row": -1}, "/dataset_row"),
        ({"dataset_row": True}, "/dataset_row"),
        ({"dataset_rows": [0, 4]}, "/dataset_rows/1"),
        ({"dataset_rows": []}, "/dataset_rows"),
        ({"dataset_rows": [0] * 257}, "/dataset_rows"),
        ({"row": [0], "target": 1}, "/row"),
        ({"row": {"x1": 1}, "target": 1}, "/row"),
        ({"rows": [[0, 1], [0, "a"]], "targets": [1, 1]}, "/rows/1"),
        ({"rows": [[0, 1]], "targets": [1, 1]}, "/targets"),
        ({"row": [0, 1], "target": "2"}, "/target"),
        ({"row": [0, 1], "target": [1]}, "/target"),
        ({"rows": [[0, 1], [1, 1]], "targets": [1, 7]}, "/targets/1"),
        ({"dataset_row": 0, "weight": {"layer": 2, "from": 0, "to": 0}}, "/weight/layer"),
        ({"dataset_row": 0, "weight": {"layer": 0, "from": 2, "to": 0}}, "/weight/from"),
        ({"dataset_row": 0, "weight": {"layer": 0, "from": "b", "to": 0}}, "/weight/from"),
        ({"dataset_row": 0, "weight": {"layer": 0, "from": 0, "to": 3}}, "/weight/to"),
        ({"dataset_row": 0, "weight": {"layer": 0, "from": 0}}, "/weight/to"),
        ({"dataset_row": 0, "weight": {"layer": 0, "from": 0, "to": 0, "x": 1}}, "/weight/x"),
        ({"dataset_row": 0, "checkpoint": 0}, "/checkpoint"),
        ({"dataset_row": 0, "bogus": 1}, "/bogus"),
    ],
)
def test_a_question_that_does_not_fit_is_pointed_at(
    succeeded: Callable[..., str], ask: Ask, body: dict[str, Any], pointer: str
) -> None:
    """A question that does not fit the network is refused with a pointer to its fault."""
    problem = ask(succeeded(**XOR, training={"epochs": 1}), **body)
    assert problem["http"] == 422, problem
    assert pointer in [error["pointer"] for error in problem["errors"]], problem


def test_a_target_of_several_numbers_is_a_list_or_an_object(succeeded: Callable[..., str], ask: Ask) -> None:
    """Several target numbers can be given as a list in order or as an object by name."""
    rows = [[float(n), float(n % 5), float(n % 3)] for n in range(30)]
    dataset = {"source": "inline", "columns": ["x", "u", "v"], "rows": rows}
    job_id = succeeded(dataset=dataset, target=["u", "v"], training={"epochs": 1})
    weight = {"layer": 0, "from": 0, "to": 0}
    listed = ask(job_id, row=[3], target=[3, 0], weight=weight)
    assert listed == ask(job_id, row=[3], target={"v": 0, "u": 3}, weight=weight)
    assert listed["weight"]["gradient"] == ask(job_id, dataset_row=3, weight=weight)["weight"]["gradient"]
    for target in (3, [1], {"u": 1}, ["a", "b"], [True, 1], [1e301, 0]):
        problem = ask(job_id, row=[3], target=target, weight=weight)
        assert (problem["http"], problem["errors"][0]["pointer"]) == (422, "/target")


def test_a_job_without_weights_is_not_ready(post: Callable[..., TestResponse], ask: Ask) -> None:
    """A question about a job that has no weights yet gets 409, and about an unknown job 404."""
    job_id = post(**XOR).get_json()["id"]
    for checkpoint in ("final", "latest"):
        problem = ask(job_id, dataset_row=0, checkpoint=checkpoint)
        assert (problem["http"], problem["code"]) == (409, "not_ready")
    assert ask("job_" + "0" * 32, dataset_row=0)["http"] == 404


@pytest.mark.parametrize("limit", ["PARAMETERS", "STORED", "PRODUCTS", "VALUES"])
def test_what_would_cost_too_much_is_refused_before_anything_is_read(
    succeeded: Callable[..., str], ask: Ask, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """By arithmetic alone: neither the weights nor the table are touched."""
    job_id = succeeded(**XOR, training={"epochs": 1})
    monkeypatch.setattr(bounds, limit, 16)
    monkeypatch.setattr("worker.insight.subject.read_published", lambda *_: pytest.fail("was read"))
    problem = ask(job_id, dataset_row=0)
    assert (problem["http"], problem["code"]) == (422, "too_costly")
    assert "the limit is 16" in problem["errors"][0]["detail"]


def test_weights_of_rows_are_said_to_be_left_out(succeeded: Callable[..., str], ask: Ask) -> None:
    """If training weighs the rows, a note says that the answer does not."""
    loss = {"type": "cross_entropy", "class_weights": {"1": 3.0}}
    job_id = succeeded(**XOR, training={"epochs": 1, "loss": loss})
    assert any("counts as 1" in note for note in ask(job_id, dataset_row=1)["notes"])


def test_a_frozen_weight_has_a_gradient_and_no_update(succeeded: Callable[..., str], ask: Ask) -> None:
    """What training would do with it is nothing; the layer after it moves."""
    source = succeeded(**XOR)
    job_id = succeeded(**XOR | {"start_from": {"job": source, "freeze": 1}}, training={"clip_norm": 1e-3, "l2": 0.1})
    frozen = ask(job_id, dataset_row=1)["weight"]
    assert frozen["gradient"] != 0
    assert frozen["update"]["new_value"] == frozen["value"]
    trained = ask(job_id, dataset_row=1, weight={"layer": 1, "from": 0, "to": 0})["weight"]
    assert trained["update"]["new_value"] != trained["value"]
