"""Whether curves are whole: every epoch once, under a number of its own, with its figures of layers and summaries."""

import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any

import numpy as np
from safetensors import SafetensorError
from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.orm import Session

from worker.records.blocks import BLOCK_EPOCHS, HIGHEST_LEVEL, all_blocks, group_epochs, read_level, span_epochs
from worker.records.packing import Columns, unpack
from worker.records.tables import EpochLayers, Event, Job, LastBlock
from worker.records.thinning import summary

Fault = tuple[str, str]
"A job's id, and words about it."
BLOCKS_AT_ONCE = 100
UNREADABLE = (zlib.error, SafetensorError, ValueError, KeyError)


def curve_faults(connection: Connection) -> Iterator[Fault]:
    """Yield all that is wrong with curves. Summaries are compared with the epochs if these are whole."""
    is_whole = True
    for fault in chain(_counts(connection), _contents(connection)):
        is_whole = False
        yield fault
    yield from _numbers(connection)
    if is_whole:
        yield from _summaries(connection)


def _counts(connection: Connection) -> Iterator[Fault]:
    """Find jobs whose blocks do not have every epoch from 1 to that of the job's row."""
    blocks = all_blocks()
    size = blocks.c.last_epoch - blocks.c.first_epoch + 1
    is_misplaced = or_(blocks.c.first_epoch % BLOCK_EPOCHS != 1, size < 1, size > BLOCK_EPOCHS)
    for job_id, first in connection.execute(select(blocks.c.job_id, blocks.c.first_epoch).where(is_misplaced)):
        yield job_id, f"has a block that begins with epoch {first} and is not where a block may be"
    recorded = (
        select(
            blocks.c.job_id,
            func.sum(size).label("count"),
            func.min(blocks.c.first_epoch).label("first"),
            func.max(blocks.c.last_epoch).label("last"),
        )
        .group_by(blocks.c.job_id)
        .subquery()
    )
    number, low, high = (func.coalesce(recorded.c[name], 0) for name in ("count", "first", "last"))
    has_gap = or_(number != Job.epoch, high != Job.epoch, and_(Job.epoch > 0, low != 1))
    found = select(Job.id, Job.epoch, number, low, high).outerjoin(recorded, recorded.c.job_id == Job.id)
    for job_id, epoch, count, first, last in connection.execute(found.where(has_gap)):
        yield job_id, f"has {count} epochs, from {first} to {last}; its row says {epoch}"


def _contents(connection: Connection) -> Iterator[Fault]:
    """Find blocks whose content is not what their row says, and epochs without their figures of layers."""
    blocks = all_blocks()
    ordered = select(blocks).order_by(blocks.c.job_id, blocks.c.first_epoch)
    # closed also if nobody wants to know of more faults
    with connection.execute(ordered.execution_options(yield_per=BLOCKS_AT_ONCE)) as rows:
        for job_id, of_job in groupby(rows, key=lambda row: str(row.job_id)):
            with_layers = select(EpochLayers.epoch).where(EpochLayers.job_id == job_id)
            layers, last_seq = set(connection.scalars(with_layers)), 0
            for row in of_job:
                what = f"has a block of epochs {row.first_epoch} to {row.last_epoch} "
                try:
                    columns = unpack(row.content)
                    differs = _differs(row, columns, after_seq=last_seq)
                except UNREADABLE:
                    yield job_id, what + "that can't be read"
                    continue
                if differs:
                    yield job_id, what + "whose epochs or numbers are others"
                epochs = set(columns["epoch"][columns["has_layers"] == 1].tolist())
                if not epochs <= layers:
                    yield job_id, what + f"without the figures of layers of epoch {min(epochs - layers)}"
                layers -= epochs
                last_seq = row.last_seq
            if layers:
                yield job_id, f"has figures of layers of epoch {min(layers)}, which says that it has none"


def _differs(row: Any, columns: Columns, *, after_seq: int) -> bool:
    """Return whether the content has other epochs than its row says, or numbers that do not increase."""
    epochs, numbers = columns["epoch"].tolist(), columns["seq"].tolist()
    ends = (row.first_seq, row.last_seq) == (numbers[0], numbers[-1])
    increases = all(low < high for low, high in zip([after_seq, *numbers], numbers, strict=False))
    return epochs != list(range(row.first_epoch, row.last_epoch + 1)) or not ends or not increases


def _numbers(connection: Connection) -> Iterator[Fault]:
    """Find numbers used twice, or higher than the row's: a job's epochs and events share one sequence."""
    blocks = all_blocks()
    within = and_(blocks.c.job_id == Event.job_id, blocks.c.first_seq <= Event.seq, blocks.c.last_seq >= Event.seq)
    events = select(Event.job_id, Event.seq, blocks.c.content).join(blocks, within)
    with connection.execute(events.execution_options(yield_per=BLOCKS_AT_ONCE)) as rows:
        for job_id, seq, content in rows:
            if seq in _readable_numbers(content):
                yield job_id, f"has an epoch and an event with the number {seq}"
    for table, number in ((LastBlock, LastBlock.last_seq), (Event, Event.seq)):
        beyond = select(Job.id, number).join(table, table.job_id == Job.id).where(number > Job.seq)
        for job_id, seq in connection.execute(beyond):
            yield job_id, f"has the number {seq}, which its row has not given yet"


def _readable_numbers(content: bytes) -> Iterable[int]:
    try:
        numbers: list[int] = unpack(content)["seq"].tolist()
    except UNREADABLE:
        return []
    return numbers


def _summaries(connection: Connection) -> Iterator[Fault]:
    """Find summaries that are missing, or have other points than the level below gives."""
    session = Session(connection)
    jobs = select(Job.id, Job.epoch).where(Job.epoch >= span_epochs(1)).order_by(Job.id)
    for job_id, last in connection.execute(jobs).all():
        for level in range(1, HIGHEST_LEVEL + 1):
            span = span_epochs(level)
            for after in range(0, last - span + 1, span):
                below, stored = (
                    read_level(session, job_id, of, after_epoch=after, last_epoch=after + span)
                    for of in (level - 1, level)
                )
                if not _are_same(summary(below, group_epochs(level)), stored):
                    yield job_id, f"has no right summary of epochs {after + 1} to {after + span}"


def _are_same(one: Columns, other: Columns) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
