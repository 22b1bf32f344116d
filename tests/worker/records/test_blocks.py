"""Curves in blocks: the same record whatever the flushes, few rows to read, and few bytes."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, select, text

from tests.statements import Statement, sent_to
from tests.worker.records.test_curves import points, record
from worker.backup.curves import curve_faults
from worker.records import blocks
from worker.records.blocks import BLOCK_EPOCHS, read_level
from worker.records.curves import read_curve, recorded_rate
from worker.records.events import count_recent_events, happenings_after
from worker.records.lease import Claim, record_event
from worker.records.packing import unpack
from worker.records.points import Point
from worker.records.sessions import Database
from worker.records.tables import CurveSummary, EpochBlock, LastBlock

LAYERS = [{"units": 64, "weight_norm": 0.1 + 0.2, "gradient_norm": None, "update_norm": 1e-300, "dead_units": 3.0}] * 3
SPIKED = ("train_loss", "validation_loss", "gradient_norm", "metric")


def curve(count: int, *, layers_every: int = 0) -> list[Point]:
    """Epochs with random figures, three metrics, and the figures of three layers in some epochs."""
    chance = random.Random(1)
    return [
        Point(
            epoch=n,
            train_loss=1 / n + chance.random(),
            validation_loss=1 / n + chance.random(),
            metrics={"train_accuracy": chance.random(), "validation_accuracy": chance.random(), "f1": chance.random()},
            learning_rate=0.1,
            gradient_norm=chance.random(),
            layers=LAYERS if layers_every and n % layers_every == 0 else None,
            seconds=round(chance.random(), 6),
            is_best=chance.random() < 0.01,
        )
        for n in range(1, count + 1)
    ]


def record_in_flushes(database: Database, claim: Claim, found: list[Point], flush: int) -> None:
    for start in range(0, len(found), flush):
        record(database, claim, found[start : start + flush], recorded=start)


def buffers(database: Database, sent: list[Statement]) -> int:
    """Return how many buffers PostgreSQL touches for these statements."""
    total = 0
    with database.engine.connect() as connection:
        for statement, parameters in sent:
            if not statement.startswith("SELECT"):
                continue
            # as text, since a value that is stored apart is only read if it is used
            explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT max(found::text) FROM ({statement}) found"
            plan = connection.exec_driver_sql(explained, parameters).scalar_one()[0]["Plan"]
            total += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return total


@pytest.mark.parametrize("flush", [1, 31, 32, 33, 63, 64, 65, 200])
def test_the_record_does_not_depend_on_the_flushes(
    database: Database, claimed: Callable[..., Claim], flush: int
) -> None:
    """Each epoch is there once with its own number, also at the edges of blocks, and a check finds no fault."""
    claim, found = claimed(), curve(200, layers_every=7)
    record_in_flushes(database, claim, found, flush)
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == found
        for after in (31, 32, 33, 199, 200):
            assert read_curve(session, claim.job_id, after_epoch=after) == found[after:]
        assert read_level(session, claim.job_id, 0, after_epoch=0, last_epoch=200)["seq"].tolist() == [*range(3, 203)]
        assert [*curve_faults(session.connection())] == []
        full = session.scalars(select(EpochBlock.first_epoch).order_by(EpochBlock.first_epoch)).all()
        assert full == [1 + BLOCK_EPOCHS * n for n in range(6)]
        assert session.scalars(select(LastBlock.first_epoch)).all() == [193]


@pytest.mark.parametrize("recorded", [31, 32, 33, 63, 64, 65])
def test_a_resumed_run_repeats_epochs_at_any_edge(
    database: Database, claimed: Callable[..., Claim], recorded: int
) -> None:
    """What differs is reported and not written; what is new follows, and the summaries are as without a stop."""
    claim, found = claimed(), curve(600, layers_every=50)
    record(database, claim, found[:recorded])
    changed = [replace(point, layers=None) if point.epoch == 50 else point for point in found]
    repeated = [replace(changed[5], train_loss=9.0), *changed[6 : recorded + 1]]
    assert record(database, claim, repeated, recorded=recorded) == ([6, 50] if recorded >= 50 else [6])
    for first in range(recorded + 1, 600, 100):
        record(database, claim, found[first : first + 100], recorded=first)
    with database.reading() as session:
        assert read_curve(session, claim.job_id) == [
            *found[:recorded],
            changed[recorded],
            *found[recorded + 1 :],
        ]
        assert [*curve_faults(session.connection())] == []


def test_summaries_do_not_depend_on_the_flushes(database: Database, claimed: Callable[..., Claim]) -> None:
    """A row for each complete span, with the same points from flushes of any size."""
    found, read = curve(4200), []
    for flush in (4200, 509):
        claim = claimed()
        record_in_flushes(database, claim, found, flush)
        rows = select(CurveSummary.level, CurveSummary.first_epoch).where(CurveSummary.job_id == claim.job_id)
        with database.reading() as session:
            expected = [*[(1, 1 + 512 * n) for n in range(8)], (2, 1)]
            assert [tuple(row) for row in session.execute(rows.order_by(*rows.selected_columns))] == expected
            kept = [read_level(session, claim.job_id, level, after_epoch=0, last_epoch=4200) for level in (1, 2)]
        read.append([columns["epoch"].tolist() for columns in kept])
    assert read[0] == read[1]


def test_a_thinned_curve_keeps_every_peak(database: Database, claimed: Callable[..., Claim]) -> None:
    """Every figure has a spike up and a spike down: the thinned curve has all of them, and only epochs that exist."""
    claim = claimed()
    smooth = [replace(point, gradient_norm=1 / point.epoch, metrics={"metric": 0.5}) for point in points(1, 20_000)]
    # the first epoch is no extreme of anything
    smooth[0] = replace(smooth[40], epoch=1, metrics={})
    spiked, found = {}, smooth
    for n, name in enumerate(SPIKED):
        for sign in (-1, 1):
            epoch = 2000 + 4000 * n + 1717 * (sign + 1) // 2
            spike = {"metrics": {"metric": sign * 9.0}} if name == "metric" else {name: sign * 9.0}
            spiked[epoch] = found[epoch - 1] = replace(found[epoch - 1], **spike)  # type: ignore[arg-type]
    record_in_flushes(database, claim, found, 5000)
    with database.reading() as session:
        for after, most in ((0, 500), (0, 20), (1, 500), (777, 300), (0, 19_999), (100, 2)):
            kept = read_curve(session, claim.job_id, after_epoch=after, max_points=most)
            assert len(kept) <= most
            assert (kept[0].epoch, kept[-1].epoch) == (after + 1, 20_000)
            assert [found[point.epoch - 1] for point in kept] == kept
            assert most == 2 or spiked.keys() <= {point.epoch for point in kept}
        assert len(read_curve(session, claim.job_id, max_points=500)) > 100


def test_a_watcher_reads_only_the_blocks_that_it_needs(
    database: Database, claimed: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any number on it gets the next epochs and events in order, from as many rows as they take."""
    claim = claimed()
    found = curve(100, layers_every=9)
    record(database, claim, found)
    database.write(lambda session: record_event(session, claim, "elsewhere", {"n": 1}))
    record(database, claim, curve(300)[100:], recorded=100)
    with database.reading() as session:
        whole = happenings_after(session, claim.job_id, 0, limit=1000)
        assert [one.seq for one in whole] == list(range(1, 304))
        assert [one.kind for one in whole[:2] + whole[102:103]] == ["status", "status", "elsewhere"]
        assert whole[10].payload["layers"] == LAYERS
        for seq in (0, 1, 33, 34, 35, 101, 102, 103, 302, 303):
            for limit in (1, 31, 32, 33):
                assert happenings_after(session, claim.job_id, seq, limit=limit) == whole[seq : seq + limit]
    contents = []
    monkeypatch.setattr(blocks, "unpack", lambda content: contents.append(content) or unpack(content))
    with database.reading() as session:
        assert happenings_after(session, claim.job_id, 150, limit=40) == whole[150:190]
    assert len(contents) <= 4


def test_what_is_recent_is_known_without_the_epochs(database: Database, claimed: Callable[..., Claim]) -> None:
    """Events count since the newest epoch; the rate is that of the epoch, or of the last before it."""
    claim = claimed()
    with database.reading() as session:
        assert recorded_rate(session, claim.job_id, 5) is None
        assert count_recent_events(session, claim.job_id, "storage_missing") == 0
    found = [replace(point, learning_rate=1 / point.epoch) for point in points(1, 70)]
    for upto in (20, 70):
        database.write(lambda session: record_event(session, claim, "storage_missing", {}))
        with database.reading() as session:
            assert count_recent_events(session, claim.job_id, "storage_missing") == 1
        start = {20: 0, 70: 20}[upto]
        record(database, claim, found[start:upto], recorded=start)
        with database.reading() as session:
            assert count_recent_events(session, claim.job_id, "storage_missing") == 0
            assert recorded_rate(session, claim.job_id, 7) == 1 / 7
            assert recorded_rate(session, claim.job_id, 1000) == 1 / upto


TABLES = ("epoch_blocks", "last_blocks", "curve_summaries", "epoch_layers")
FLUSHES_A_MINUTE = 240


def vacuumed_bytes(database: Database) -> int:
    """Vacuum the tables, and return how many bytes they have with their indexes."""
    # it can't be in a transaction, which every connection of ours begins
    plain = create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    with plain.connect() as connection:
        for table in TABLES:
            connection.execute(text(f"VACUUM {table}"))
        sizes = " + ".join(f"pg_total_relation_size('{table}')" for table in TABLES)
        found = int(connection.scalar(text(f"SELECT {sizes}")) or 0)
    plain.dispose()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_an_epoch_takes_less_than_200_bytes(database: Database, claimed: Callable[..., Claim]) -> None:
    """With indexes, summaries and figures of layers, though epochs were flushed one at a time and rewrote a block.

    Vacuum runs once in as many flushes as a worker makes in the minute between two automatic ones.
    """
    before, claim, found = vacuumed_bytes(database), claimed(), curve(10_000, layers_every=40)
    record_in_flushes(database, claim, found[:9000], 100)
    for epoch in range(9000, 10_000):
        record(database, claim, found[epoch : epoch + 1], recorded=epoch)
        if epoch % FLUSHES_A_MINUTE == 0:
            vacuumed_bytes(database)
    taken = (vacuumed_bytes(database) - before) / len(found)
    print(f"{taken:.0f} bytes an epoch")
    assert taken < 200


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_thinned_curve_touches_few_buffers(database: Database, claimed: Callable[..., Claim]) -> None:
    """100,000 epochs as 1,000 points take fewer than 400 buffers, and as the 50 rows of the page fewer than 200."""
    claim = claimed()
    record_in_flushes(database, claim, curve(100_000, layers_every=400), 20_000)
    touched = {}
    for most in (50, 1000):
        with sent_to(database.engine) as sent, database.reading() as session:
            assert len(read_curve(session, claim.job_id, max_points=most)) <= most
        touched[most] = buffers(database, sent)
    print(f"buffers by points: {touched}")
    assert touched[1000] < 400
    assert touched[50] < 200
