"""Every version that can be asked for, on both databases."""

from collections.abc import Callable

from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.versions import delete_version, every_version, register_version
from worker.records.weights import newest_weights_id
from worker.running.run import Runner


def test_versions_are_listed_by_name_and_number(
    database: Database, submit: Callable[..., Snapshot], runner: Runner
) -> None:
    """Of this project only, without those that were deleted."""
    weights = []
    for seed in range(3):
        job_id = submit(training={"epochs": 1, "seed": seed})["id"]
        assert runner.run_job(job_id) == "succeeded"
        with database.reading() as session:
            weights.append(newest_weights_id(session, job_id))
    for name, position in (("b", 0), ("a", 0), ("b", 1), ("b", 2), ("a", 1)):
        database.write(lambda session, n=name, k=position: register_version(session, DEFAULT_PROJECT, n, weights[k]))
    database.write(lambda session: delete_version(session, DEFAULT_PROJECT, "b", 2))
    with database.reading() as session:
        assert every_version(session, DEFAULT_PROJECT) == [("a", 1), ("a", 2), ("b", 1), ("b", 3)]
        assert every_version(session, DEFAULT_PROJECT, "b") == [("b", 1), ("b", 3)]
        assert every_version(session, "prj_other") == []
        assert every_version(session, DEFAULT_PROJECT, "c") == []
        assert every_version(session, DEFAULT_PROJECT, "\0") == []
