"""What a tiny job costs the database: few statements, few updates of its row, and nothing stored twice."""

from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from tests.statements import sent_to
from worker.records.lease import Claim
from worker.records.queue import claim_oldest
from worker.records.sessions import Database
from worker.records.snapshots import Snapshot
from worker.records.tables import Blob, StoredNetwork, Weights
from worker.running.attempt import claim_for
from worker.running.run import Runner

TINY = {"dataset": {"source": "builtin", "name": "xor"}, "training": {"epochs": 200, "batch_size": 4}}


def test_a_tiny_job_takes_few_round_trips(
    database: Database, submit: Callable[..., Snapshot], runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its submission to its end, with 20 and more snapshots, in two flushes."""
    # a slow machine flushes more often, and this counts the statements of one flush
    monkeypatch.setattr("worker.running.recorder.FLUSH_SECONDS", 60.0)
    with sent_to(database.engine) as sent:
        submit(**TINY)
        claim = claim_for(runner, claim_oldest)
        assert isinstance(claim, Claim)
        assert runner.run_claim(claim) == "succeeded"
    of_heartbeat = [statement for statement in sent if statement.text.startswith("SELECT jobs.status")]
    # begin, read, end
    assert len(sent) - 3 * len(of_heartbeat) <= 55
    assert sum(statement.text.startswith("UPDATE jobs") for statement in sent) <= 5
    with database.reading() as session:
        assert (session.scalar(select(func.count()).select_from(Weights)) or 0) >= 20
        assert session.scalar(select(func.count()).select_from(StoredNetwork)) == 1
        assert session.scalars(select(Weights.own_network)).all() == [[]] * len(session.scalars(select(Weights)).all())
        assert set(session.scalars(select(Blob.published))) == {True}
        for weights in session.scalars(select(Weights)):
            assert weights.network[-1]["type"] == "dense"
            assert weights.encoders["features"]
