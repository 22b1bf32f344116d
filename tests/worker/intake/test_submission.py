"""A job is designed, stored, committed, and only then rung for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.conftest import spec_of
from worker.data import inline, profiles
from worker.data.storage import Storage
from worker.errors import SpecError
from worker.intake.datasets import Datasets
from worker.intake.submission import Intake
from worker.records.idempotency import Request
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.tables import Job
from worker.running.run import Runner
from worker.settings import Limits
from worker.specs.job import Job as Spec


def inline_job(rows: list[list[Any]], **changes: Any) -> Spec:
    dataset = {"source": "inline", "columns": ["x", "label"], "rows": rows}
    return spec_of(dataset=dataset, training={"epochs": 2}, **changes)


def test_the_bell_rings_after_the_commit_and_once(database: Database, datasets: Datasets) -> None:
    """Whoever hears the bell finds the job; a repeat of the request rings nothing."""
    found: list[str | None] = []

    def ring(job_id: str) -> None:
        with database.reading() as session:
            found.append(session.scalar(select(Job.status).where(Job.id == job_id)))

    intake = Intake(database, datasets, Limits(), ring)
    first, second = (intake.submit(DEFAULT_PROJECT, spec_of(), request=Request("key", "a" * 64)) for _ in range(2))
    assert found == ["queued"]
    assert (first.replayed, second.replayed) == (False, True)
    assert second.answer == first.answer


def test_inline_rows_are_parsed_and_profiled_once(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large a table in a request is, it is looked at once before it is stored."""
    calls: list[str] = []

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (calls.append(name), function(*arguments))[1]

    monkeypatch.setattr("worker.intake.datasets.inline_table", counted("parse", inline.inline_table))
    monkeypatch.setattr("worker.intake.datasets.profile_table", counted("profile", profiles.profile_table))
    monkeypatch.setattr("worker.intake.datasets.read_table", counted("read", lambda *_: pytest.fail("read again")))
    intake.submit(DEFAULT_PROJECT, inline_job([[n, n % 2 == 0] for n in range(40)], target="label"))
    assert calls == ["parse", "profile"]


def test_text_in_inline_rows_stays_text(intake: Intake, runner: Runner, database: Database) -> None:
    """Labels that look like numbers are classes to the design and to the worker alike."""
    answer = intake.submit(DEFAULT_PROJECT, inline_job([[n / 7, str(n % 2)] for n in range(40)])).answer
    assert answer["classes"] == ["0", "1"]
    assert runner.run_job(answer["id"]) == "succeeded"
    with database.reading() as session:
        evaluation = session.scalars(select(Job.evaluation)).one()
    assert evaluation is not None
    assert evaluation["validation"]["confusion"]["classes"] == ["0", "1"]


def test_too_many_inline_rows_are_refused_by_their_pointer(database: Database, tmp_path: Path) -> None:
    """The limit of rows holds for rows in a request as for an upload."""
    limits = Limits(rows=10)
    datasets = Datasets(database, Storage(str(tmp_path / "storage")), limits)
    intake = Intake(database, datasets, limits, ring=lambda _id: None)
    with pytest.raises(SpecError, match="has 40 rows; the limit is 10") as caught:
        intake.submit(DEFAULT_PROJECT, inline_job([[n, n % 2 == 0] for n in range(40)]))
    assert caught.value.pointer == "/dataset/rows"


def test_a_dry_run_and_a_submission_agree(intake: Intake) -> None:
    """The design that a dry run shows is the one that the job is stored with."""
    spec = spec_of()
    design = intake.design(DEFAULT_PROJECT, spec)
    answer = intake.submit(DEFAULT_PROJECT, spec).answer
    assert (answer["layers"], answer["parameters"]) == (design.cost.layers, design.cost.parameters)
    assert [layer.type for layer in design.layers] == [layer["type"] for layer in answer["layers"]]
