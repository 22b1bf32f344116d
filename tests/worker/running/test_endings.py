"""How jobs end: perfectly, by divergence, by bad data, by a limit, or by a fault of ours. Each error says why."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from tests.conftest import spec_of
from worker.errors import StateError
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.jobs import get_job
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Job
from worker.records.weights import find_weights_id
from worker.running.run import Runner

Submit = Callable[..., Snapshot]

LONG: dict[str, Any] = {"training": {"epochs": 1_000_000, "checkpoint_seconds": 3600}}


def read_job(database: Database, job_id: str) -> Job:
    with database.reading() as session:
        return get_job(session, DEFAULT_PROJECT, job_id)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("early_stopping", [None, {"patience": 5}])
@pytest.mark.parametrize("fraction", [0.2, 0.0])
def test_weights_ruined_by_the_last_step_are_not_published(
    database: Database, runner: Runner, submit: Submit, early_stopping: object, fraction: float
) -> None:
    """The only step has a finite loss and leaves weights that are not: diverged, and nothing is published."""
    job_id = submit(
        dataset={"source": "builtin", "name": "diabetes"}, target="target",
        network={"layers": [{"type": "dense", "units": 256}] * 8},
        training={
            "epochs": 1, "batch_size": 1000, "optimizer": {"type": "sgd", "learning_rate": 1000.0},
            "early_stopping": early_stopping, "validation": {"fraction": fraction},
        },
    )["id"]  # fmt: skip
    assert runner.run_job(job_id) == "failed"
    job = read_job(database, job_id)
    assert job.error is not None
    assert (job.error["code"], job.error["epoch"]) == ("diverged", 1)
    with database.reading() as session, pytest.raises(StateError):
        find_weights_id(session, job_id)


def test_a_specification_that_this_version_refuses_fails_in_words(
    database: Database, runner: Runner, submit: Submit
) -> None:
    """A job that was stored by a version that allowed more fails with the pointer of what is refused."""
    job_id = submit()["id"]
    spec = spec_of().model_dump(mode="json") | {"of_another_version": 1}
    database.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(spec=spec)))
    assert runner.run_job(job_id) == "failed"
    error = read_job(database, job_id).error
    assert error is not None
    assert (error["code"], "/of_another_version" in error["message"]) == ("invalid_data", True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_divergence_fails_the_job_with_its_epoch_and_advice(database: Database, runner: Runner, submit: Submit) -> None:
    """The error names the epoch and a smaller rate; every epoch before it is in the curve, finite."""
    job_id = submit(
        dataset={"source": "builtin", "name": "diabetes"}, target="target",
        training={"epochs": 500, "optimizer": {"type": "sgd", "learning_rate": 2.0}},
        network={"layers": [{"type": "dense", "units": 16}]},
    )["id"]  # fmt: skip
    assert runner.run_job(job_id) == "failed"
    job = read_job(database, job_id)
    assert job.error is not None
    assert job.error["code"] == "diverged"
    assert job.error["epoch"] == job.epoch + 1
    assert job.error["message"].endswith("try a learning rate of 0.2 or less")


def test_data_that_does_not_fit_any_more_fails_the_job_in_words(
    database: Database, runner: Runner, submit: Submit
) -> None:
    """A stored specification that does not fit its table fails as `invalid_data`, and the message says where."""
    job_id = submit()["id"]
    database.write(
        lambda session: session.execute(
            update(Job).where(Job.id == job_id).values(spec=spec_of(target="nothing").model_dump(mode="json"))
        )
    )
    assert runner.run_job(job_id) == "failed"
    error = read_job(database, job_id).error
    assert error is not None
    assert error["code"] == "invalid_data"
    assert "/target the dataset has no such column" in error["message"]


def test_max_seconds_ends_a_job_as_timed_out(database: Database, runner: Runner, submit: Submit) -> None:
    """The error names the limit that the job had set."""
    job_id = submit(training={"epochs": 1_000_000, "max_seconds": 0.2})["id"]
    assert runner.run_job(job_id) == "failed"
    error = read_job(database, job_id).error
    assert error is not None
    assert (error["code"], "0.2" in error["message"]) == ("timed_out", True)


def test_an_error_of_ours_fails_the_job_without_its_text(
    database: Database, runner: Runner, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record has the code `internal`; the text, which may hold a path, goes to the log only."""

    def broken(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("worker.running.run.load", broken)
    job_id = submit()["id"]
    assert runner.run_job(job_id) == "failed"
    error = read_job(database, job_id).error
    assert error is not None
    assert (error["code"], "secret" in error["message"]) == ("internal", False)


def test_a_job_that_learns_all_there_is_to_learn_ends(database: Database, runner: Runner, submit: Submit) -> None:
    """A training loss of exactly 0 breaks nothing, such as the hints about the curve."""
    job_id = submit(
        dataset={"source": "builtin", "name": "xor"}, target="label",
        network={"layers": [{"type": "dense", "units": 32}]},
        training={"epochs": 1500, "optimizer": {"type": "adam", "learning_rate": 0.5}},
    )["id"]  # fmt: skip
    assert runner.run_job(job_id) == "succeeded"
    job = read_job(database, job_id)
    assert job.latest["train_loss"] == 0.0
    assert job.hints == []


def test_words_about_a_curve_do_not_cost_a_job_its_end(
    runner: Runner, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault in the hints leaves the job succeeded."""
    monkeypatch.setattr("worker.running.run.hints_of", lambda _: 1 / 0)
    assert runner.run_job(submit()["id"]) == "succeeded"


def test_a_monitor_without_a_figure_fails_the_job_with_a_word_about_it(
    database: Database, runner: Runner, submit: Submit
) -> None:
    """All but one of 22 rows are of one class: the validation part has a single class, and so no ROC AUC."""
    columns = ["x", "label"]
    rows = [[float(n), "b" if n == 0 else "a"] for n in range(22)]
    job_id = submit(
        dataset={"source": "inline", "columns": columns, "rows": rows}, target="label",
        training={
            "epochs": 9, "metrics": ["roc_auc"], "validation": {"fraction": 0.2, "stratify": False},
            "early_stopping": {"monitor": "validation_roc_auc"},
        },
    )["id"]  # fmt: skip
    assert runner.run_job(job_id) == "failed"
    error = read_job(database, job_id).error
    assert (error["code"], "monitor another figure" in error["message"]) == ("invalid_data", True)
