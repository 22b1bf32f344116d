"""Jobs that start from a trained network: warm starts, transfer, frozen layers, and the source's life."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import spec_of
from tests.worker.running.test_run import curve_bits, final_arrays, read_job, stop_at_the_first_flush
from worker.data.encoders import CategoricalCode, NumericCode
from worker.data.sources import make_table
from worker.errors import SpecError, StateError
from worker.intake.design import design_job
from worker.networks.predictor import Predictor
from worker.networks.trained import Trained, read_trained
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import delete_job
from worker.records.kept_steps import read_step
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Alias, Model
from worker.records.versions import register_version
from worker.records.weights import find_weights_id, from_bytes
from worker.running.loading import Loaded, load
from worker.running.run import Runner
from worker.settings import Limits
from worker.specs.job import Job

Submit = Callable[..., Snapshot]

DEEP = {"layers": [{"type": "dense", "units": 8}, {"type": "batch_norm"}, {"type": "dense", "units": 6}]}


@pytest.fixture
def source_id(runner: Runner, submit: Submit) -> str:
    """A succeeded job."""
    return ran(runner, submit(network=DEEP, training={"epochs": 10}))


def ran(runner: Runner, job: Snapshot) -> str:
    job_id: str = job["id"]
    assert runner.run_job(job_id) == "succeeded"
    return job_id


def start(job_id: str, **changes: Any) -> dict[str, Any]:
    return {"start_from": {"job": job_id} | changes, "network": DEEP}


def test_the_first_loss_is_the_sources_own(database: Database, runner: Runner, submit: Submit) -> None:
    """One batch of all rows is measured before the first step: the cross-entropy of the source's served predictions."""
    network = {"layers": [{"type": "dense", "units": 8, "activation": "tanh"}]}
    source_id = ran(runner, submit(network=network))
    continued = submit(start_from={"job": source_id}, network=network, training={"epochs": 1, "batch_size": 1000})["id"]
    ran(runner, {"id": continued})
    spec = spec_of(network=network)
    table = make_table(spec.dataset)  # type: ignore[arg-type]
    rows = table.take(load(spec, table, Limits()).split.train)
    with database.reading() as session:
        trained = read_trained(session, find_weights_id(session, source_id, "final"))
    served = Predictor(trained).predict_table(rows)
    assert served.classes is not None
    labels = [served.classes.index(label) for label in rows["label"].to_pylist()]
    of_label = np.array(served.probabilities)[np.arange(len(labels)), labels]
    latest = read_job(database, continued).latest
    assert latest is not None
    assert latest["train_loss"] == pytest.approx(-np.log(of_label).mean(), rel=1e-5)


def test_frozen_layers_come_out_as_they_went_in(
    database: Database, runner: Runner, submit: Submit, source_id: str
) -> None:
    """Bit for bit, batch_norm's running figures included; the layers after them have moved."""
    job_id = ran(runner, submit(**start(source_id, freeze=2)))
    before, after = final_arrays(database, source_id), final_arrays(database, job_id)
    for name, array in after.items():
        frozen = name.startswith(("layers.0.", "layers.1."))
        assert np.array_equal(array, before[name]) == frozen, name


def test_a_kept_step_and_the_certificate_are_of_what_is_trained(
    database: Database, runner: Runner, submit: Submit, source_id: str
) -> None:
    """Frozen layers have no moments and no gradient to prove, and do not move."""
    job_id = ran(runner, submit(**start(source_id, freeze=2), training={"epochs": 3, "replay_steps": [5]}))
    with database.reading() as session:
        arrays = from_bytes(read_step(session, job_id, 5)[1])
    certificate = read_job(database, job_id).certificate
    assert certificate is not None
    assert [layer["layer"] for layer in certificate["layers"]] == [2, 3]
    assert certificate["verdict"] == "agrees"
    moments = {name.split(".")[3] for name in arrays if name.startswith("slots.m.")}
    assert moments == {"2", "3"}
    moved = {
        name: np.any(arrays[name.replace("before", "after", 1)] != arrays[name]) for name in arrays if "before" in name
    }
    assert {name.split(".")[2] for name, has_moved in moved.items() if has_moved} == {"2", "3"}
    m, g = arrays["slots.m.layers.2.w"], arrays["gradient.layers.2.w"]
    assert m.shape == g.shape == (8, 6)


def test_a_started_job_stopped_and_resumed_has_the_same_bits(
    database: Database, runner: Runner, shutdown: threading.Event, submit: Submit, source_id: str
) -> None:
    """Curve and final weights equal those of a run without a stop, frozen layers and all."""
    job = start(source_id, freeze=2) | {"training": {"epochs": 40}}
    whole = ran(runner, submit(**job))
    stopped: str = submit(**job)["id"]
    stop_at_the_first_flush(runner, shutdown, stopped)
    assert read_job(database, stopped).epoch < 40
    ran(runner, {"id": stopped})
    assert curve_bits(database, whole) == curve_bits(database, stopped)
    of_whole, of_stopped = final_arrays(database, whole), final_arrays(database, stopped)
    assert all(np.array_equal(array, of_stopped[name]) for name, array in of_whole.items())


def test_a_job_is_designed_without_its_sources_arrays(
    runner: Runner, source_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a start fits is decided by the header of the source's file: none of its numbers is loaded."""
    monkeypatch.setattr("worker.networks.trained.read_weights", lambda *_: pytest.fail("was read"))
    monkeypatch.setattr("worker.records.weights.read_parts", lambda *_: pytest.fail("was read"))
    design = design_job(spec_of(**start(source_id)), DEFAULT_PROJECT, runner.datasets, Limits())
    assert design.source is not None
    ensemble = spec_of(**start(source_id), training={"ensemble": 2})
    with pytest.raises(SpecError, match="must be 1, as many networks") as refused:
        design_job(ensemble, DEFAULT_PROJECT, runner.datasets, Limits())
    assert refused.value.pointer == "/training/ensemble"


def test_a_source_stays_while_it_is_needed(database: Database, runner: Runner, submit: Submit, source_id: str) -> None:
    """Until the job that starts from it is over; then it can go, and what was made of it stays."""
    job_id: str = submit(**start(source_id))["id"]
    with pytest.raises(StateError, match="starts from"):
        database.write(lambda session: delete_job(session, DEFAULT_PROJECT, source_id))
    ran(runner, {"id": job_id})
    database.write(lambda session: delete_job(session, DEFAULT_PROJECT, source_id))
    assert final_arrays(database, job_id)
    with pytest.raises(SpecError) as refused:
        submit(**start(source_id))
    assert refused.value.pointer == "/start_from/job"


def test_an_alias_means_what_it_meant_at_submission(
    database: Database, runner: Runner, submit: Submit, source_id: str
) -> None:
    """The specification keeps the version's number, and the layers that it was left to take from the source."""

    def register(job_id: str) -> int:
        return database.write(
            lambda session: register_version(session, DEFAULT_PROJECT, "iris", find_weights_id(session, job_id))
        )[0].version

    def point(version: int) -> None:
        def work(session: Any) -> None:
            model_id = session.query(Model.id).scalar()
            row = {"model_id": model_id, "project_id": DEFAULT_PROJECT, "alias": "production", "version": version}
            session.merge(Alias(**row))

        database.write(work)

    point(register(source_id))
    document = spec_of().model_dump(mode="json")
    del document["network"]
    spec = Job.model_validate(document | {"start_from": {"model": "iris", "alias": "production"}})
    planned = design_job(spec, DEFAULT_PROJECT, runner.datasets, Limits())
    point(register(ran(runner, submit(network=DEEP, training={"epochs": 1}))))
    assert planned.spec.start_from is not None
    assert planned.spec.start_from.model_dump(exclude_none=True) == {"model": "iris", "version": 1, "freeze": 0}
    assert planned.spec.network.model_dump() == spec_of(network=DEEP).network.model_dump()
    with database.reading() as session:
        assert planned.source == find_weights_id(session, source_id, "final")


TABLE: dict[str, Any] = {
    "size": [0.5 * n for n in range(40)],
    "kind": ["a", "b", "c", "d"] * 10,
    "label": ["yes", "no"] * 20,
    "colour": ["red", "green", "blue", "red"] * 10,
    "price": [10.0 + n % 7 for n in range(40)],
}
SMALL: dict[str, Any] = {
    "features": ("size", "kind"),
    "network": {
        "layers": [{"type": "dense", "units": 5}, {"type": "residual", "layers": [{"type": "dense", "units": 5}]}]
    },
}


def loaded(spec: Job, source: Trained | None = None, **changes: Any) -> Loaded:
    return load(spec, pa.table(TABLE | changes), Limits(), source)


def source_of(spec: Job) -> Trained:
    """The job run here and now."""
    made = loaded(spec)
    list(made.training.run(lambda: False))
    return Trained(made.layers, made.encoders, made.training.final.named())


def started(**changes: Any) -> Job:
    return spec_of(start_from={"job": "job_" + "0" * 32}, **SMALL | changes)


def test_features_that_agree_are_encoded_as_the_sources() -> None:
    """So that its weights mean the same; a category that it never saw counts as none, and has no weight of its own."""
    source = source_of(spec_of(**SMALL))
    other = {"size": [100.0 + n for n in range(40)], "kind": ["a", "b", "c", "new"] * 10}
    again = loaded(started(columns={"kind": {"type": "categorical", "unknown": "refuse"}}), source, **other)
    assert again.encoders.features[0] == source.encoders.features[0]
    code, known = again.encoders.features[1], source.encoders.features[1]
    assert isinstance(code, CategoricalCode)
    assert isinstance(known, CategoricalCode)
    assert (code.categories, code.unknown, known.unknown) == (known.categories, "refuse", "pool")
    assert np.array_equal(again.training.parameters.flat, np.concatenate([a.ravel() for a in source.arrays.values()]))
    assert (again.training.train.x[:, 1:].sum(axis=1) == 0).any()


@pytest.mark.parametrize(("target", "kept"), [("label", True), ("colour", False), ("price", False)])
def test_another_target_has_an_output_layer_of_its_own(target: str, kept: bool) -> None:
    """Drawn from the seed as without a source; the hidden layers are the source's."""
    source = source_of(spec_of(**SMALL))
    fresh = loaded(spec_of(**SMALL | {"target": target})).training.parameters.named()
    begun = loaded(started(target=target), source).training.parameters.named()
    for name, array in begun.items():
        of_output = name.startswith("layers.2.")
        assert np.array_equal(array, (source.arrays if kept or not of_output else fresh)[name]), name


def test_a_residual_blocks_inner_layer_is_not_the_output() -> None:
    """Though it bears the output layer's number within its block."""
    network = {
        "layers": [{"type": "residual", "layers": [{"type": "dense", "units": 5}, {"type": "dense", "units": 5}]}]
    }
    source = source_of(spec_of(**SMALL | {"network": network}))
    begun = loaded(started(target="colour", network=network), source).training.parameters.named()
    assert np.array_equal(begun["layers.0.layers.1.w"], source.arrays["layers.0.layers.1.w"])
    assert begun["layers.1.w"].shape == (5, 3)


def test_a_numeric_target_keeps_the_sources_unit() -> None:
    """Mean and scale belong to the output layer that learned them."""
    source = source_of(spec_of(**SMALL | {"target": "price"}))
    again = loaded(started(target="price"), source, price=[1000.0 + n for n in range(40)])
    assert again.encoders.target == source.encoders.target
    as_counts = loaded(started(target="price", training={"loss": "poisson"}), source)
    assert as_counts.encoders.target != source.encoders.target


def test_other_features_have_encoders_of_their_own() -> None:
    """Their number fits, but they are other columns: the first layer's weights are taken as they are."""
    source = source_of(spec_of(**SMALL | {"features": ("size",)}))
    again = loaded(started(features=("price",)), source)
    code = again.encoders.features[0]
    assert isinstance(code, NumericCode)
    assert code.name == "price"
    assert np.array_equal(again.training.parameters.named()["layers.0.w"], source.arrays["layers.0.w"])


@pytest.mark.parametrize(
    ("changes", "pointer", "said"),
    [
        ({"network": {"layers": [{"type": "dense", "units": 5}]}}, "/network/layers", "must be 2 layers"),
        (
            {"network": {"layers": [SMALL["network"]["layers"][0], {"type": "dense", "units": 4}]}},
            "/network/layers/1",
            "must have the source's shape: residual of 5 inputs and 5 units, got dense of 5 inputs and 4 units",
        ),
        ({"features": ("size",)}, "/network/layers/0", "of 5 inputs and 5 units, got dense of 1 inputs and 5"),
        ({"training": {"ensemble": 3}}, "/training/ensemble", "must be 1"),
        ({"start_from": {"job": "job_" + "0" * 32, "freeze": 3}}, "/start_from/freeze", "2 or less"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], pointer: str, said: str) -> None:
    """What does not fit the source is refused with a pointer to it."""
    source = source_of(spec_of(**SMALL))
    document = {"start_from": {"job": "job_" + "0" * 32}} | SMALL | changes
    with pytest.raises(SpecError, match=said) as refused:
        loaded(spec_of(**document), source)
    assert refused.value.pointer == pointer


def test_a_linear_model_starts_from_one_of_as_many_inputs() -> None:
    """A linear model can't start from one with another number of inputs."""
    source = source_of(spec_of(**SMALL | {"network": {"layers": []}}))
    with pytest.raises(SpecError, match="must make 5 inputs") as refused:
        loaded(started(features=("size",), network={"layers": []}), source)
    assert refused.value.pointer == "/features"


def test_an_ensemble_starts_from_an_ensemble() -> None:
    """Each member from its own; a new output layer is drawn from each one's own seed."""
    source = source_of(spec_of(**SMALL | {"training": {"ensemble": 3}}))
    begun = loaded(started(training={"ensemble": 3}), source).training.parameters.named()
    assert all(np.array_equal(array, source.arrays[name]) for name, array in begun.items())
    other = loaded(started(target="colour", training={"ensemble": 3}), source).training.parameters.named()
    assert np.array_equal(other["members.2.layers.1.layers.0.w"], source.arrays["members.2.layers.1.layers.0.w"])
    assert not np.array_equal(other["members.1.layers.2.w"], other["members.2.layers.2.w"])


def test_a_float64_run_takes_a_float32_source_exactly() -> None:
    """A float64 run starts from exactly the numbers of a float32 source."""
    source = source_of(spec_of(**SMALL))
    begun = loaded(started(training={"precision": "float64"}), source).training.parameters.named()
    assert all(
        array.dtype == np.float64 and np.array_equal(array, source.arrays[name]) for name, array in begun.items()
    )
