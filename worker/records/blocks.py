"""The rows of a curve: blocks with all of its epochs, and summaries with the extremes of many.

A block has BLOCK_EPOCHS epochs, the last one maybe fewer. Each flush rewrites the last block, which is in a table of
its own: full blocks are written once.

A summary of level 1 has the extremes of each of 8 groups of 64 epochs, one of level 2 those of 8 groups of 512, and so
on. It is written once, when its last epoch is recorded, from what the level below has. So a thinned curve is read from
a number of rows that does not depend on the curve's length.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Subquery, insert, select, union_all, update
from sqlalchemy.orm import Session

from worker.records.packing import Columns, chosen, joined, pack, unpack
from worker.records.tables import CurveSummary, EpochBlock, EpochLayers, LastBlock
from worker.records.thinning import summary

BLOCK_EPOCHS = 32
GROUPS = 8
SMALLEST_GROUP = 64
HIGHEST_LEVEL = 4
"A job has at most a million epochs: four summaries of 262,144 epochs."
COLUMNS = ("job_id", "first_epoch", "last_epoch", "first_seq", "last_seq", "content")


def all_blocks(where: Callable[[Any], tuple[ColumnElement[bool], ...]] = lambda _table: ()) -> Subquery:
    """Return the full blocks and the last ones, which one statement must read: between two a block might have moved.

    where: the conditions for a table. SQLite would not use an index for them outside of the union.
    """
    tables = (EpochBlock, LastBlock)
    return union_all(
        *[select(*[getattr(table, name) for name in COLUMNS]).where(*where(table)) for table in tables]
    ).subquery("blocks")


def group_epochs(level: int) -> int:
    """Return how many epochs a summary of this level replaces by their extremes, which are about ten points.

    level: 0 for blocks, which have every epoch: eight epochs are about as many points.
    """
    return SMALLEST_GROUP * int(GROUPS**level) // GROUPS


def span_epochs(level: int) -> int:
    """Return how many epochs a row covers. level: 0 for blocks."""
    return BLOCK_EPOCHS if level == 0 else GROUPS * group_epochs(level)


def add_epochs(session: Session, job_id: str, project_id: str, columns: Columns) -> None:
    """Add the next epochs of a job. The transaction has locked the job's row, and checked that these are the next."""
    recorded, last = int(columns["epoch"][0]) - 1, int(columns["epoch"][-1])
    owner = {"job_id": job_id, "project_id": project_id}
    if recorded:
        columns = joined([_last_block(session, job_id, recorded), columns])
    *full, rest = [_block(part) for part in _parts(columns, BLOCK_EPOCHS)]
    if full:
        session.execute(insert(EpochBlock), [owner | block for block in full])
    if recorded:
        session.execute(update(LastBlock).where(LastBlock.job_id == job_id).values(rest))
    else:
        session.execute(insert(LastBlock).values(owner | rest))
    for level in range(1, HIGHEST_LEVEL + 1):
        span = span_epochs(level)
        first, end = recorded // span * span, last // span * span
        if first == end:
            break
        below = read_level(session, job_id, level - 1, after_epoch=first, last_epoch=end)
        session.execute(
            insert(CurveSummary),
            [
                owner | {"level": level, "first_epoch": _first_of_row(part, span), "content": pack(part)}
                for part in _parts(summary(below, group_epochs(level)), span)
            ],
        )


def _last_block(session: Session, job_id: str, recorded: int) -> Columns:
    """Return the epochs of the last block, which must end with the last recorded epoch."""
    found = select(LastBlock.content).where(LastBlock.job_id == job_id, LastBlock.last_epoch == recorded)
    content = session.scalar(found)
    if content is None:
        raise ValueError(f"{job_id} has no block that ends with epoch {recorded}")
    return unpack(content)


def _block(columns: Columns) -> dict[str, Any]:
    first, last = ({name: int(columns[name][n]) for name in ("epoch", "seq")} for n in (0, -1))
    return {
        "first_epoch": first["epoch"],
        "last_epoch": last["epoch"],
        "first_seq": first["seq"],
        "last_seq": last["seq"],
        "content": pack(columns),
    }


def _parts(columns: Columns, span: int) -> list[Columns]:
    """Return the columns of each row. span: how many epochs a row covers."""
    row = (columns["epoch"] - 1) // span
    cuts = np.flatnonzero(np.diff(row)) + 1
    return [chosen(columns, positions) for positions in np.split(np.arange(len(row)), cuts)]


def _first_of_row(part: Columns, span: int) -> int:
    """Return the first epoch that the row of these epochs covers."""
    return (int(part["epoch"][0]) - 1) // span * span + 1


def read_level(session: Session, job_id: str, level: int, *, after_epoch: int, last_epoch: int) -> Columns:
    """Return the epochs after `after_epoch`, up to `last_epoch`, that the rows of a level have. level: 0 for blocks."""

    def of_range(table: Any) -> tuple[ColumnElement[bool], ...]:
        starts = table.first_epoch > after_epoch + 1 - span_epochs(level), table.first_epoch <= last_epoch
        return table.job_id == job_id, *starts

    summaries = select(CurveSummary).where(CurveSummary.level == level, *of_range(CurveSummary))
    rows = summaries.subquery("summaries") if level else all_blocks(of_range)
    contents = select(rows.c.content)
    columns = joined([unpack(content) for content in session.scalars(contents.order_by(rows.c.first_epoch))])
    return chosen(columns, (columns["epoch"] > after_epoch) & (columns["epoch"] <= last_epoch))


def read_numbered(session: Session, job_id: str, *, after_seq: int, limit: int) -> Columns:
    """Return the epochs with a sequence number above `after_seq`, at most `limit` of them."""
    full = select(EpochBlock.first_epoch).where(EpochBlock.job_id == job_id, EpochBlock.first_seq <= after_seq)
    begun = session.scalar(full.order_by(EpochBlock.first_seq.desc()).limit(1)) or 1
    # epochs of this block may not be asked for, nor some of the last block, if it is the next
    last = begun - 1 + 2 * BLOCK_EPOCHS + limit
    columns = read_level(session, job_id, 0, after_epoch=begun - 1, last_epoch=last)
    return chosen(columns, np.flatnonzero(columns["seq"] > after_seq)[:limit])


def read_extremes(session: Session, job_id: str, *, after_epoch: int, last_epoch: int, groups: int) -> Columns:
    """Return extremes of a range of epochs, from the finest level at which it has at most `groups` groups.

    Where the range begins or ends within a group, finer groups or the epochs themselves take its place.
    """
    level = 0
    while level < HIGHEST_LEVEL and last_epoch - after_epoch > groups * group_epochs(level):
        level += 1
    pieces = _pieces(level, after_epoch, last_epoch)
    return joined([read_level(session, job_id, of, after_epoch=after, last_epoch=last) for of, after, last in pieces])


def _pieces(level: int, after: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Yield (level, after, last) of the coarsest rows that cover a range exactly, in order; none above `level`."""
    span = span_epochs(level)
    start, end = -(-after // span) * span, last // span * span
    if level == 0:
        yield 0, after, last
    elif start >= end:
        yield from _pieces(level - 1, after, last)
    else:
        if after < start:
            yield from _pieces(level - 1, after, start)
        yield level, start, end
        if end < last:
            yield from _pieces(level - 1, end, last)


def add_layers(session: Session, job_id: str, project_id: str, layers: dict[int, Any]) -> None:
    """Add the figures of layers of some epochs."""
    rows = [{"job_id": job_id, "project_id": project_id, "epoch": epoch, "layers": layers[epoch]} for epoch in layers]
    if rows:
        session.execute(insert(EpochLayers), rows)


def read_layers(session: Session, job_id: str, columns: Columns) -> dict[int, Any]:
    """Return the figures of layers of those of the epochs that have them."""
    epochs: Sequence[int] = columns["epoch"][columns["has_layers"] == 1].tolist()
    if not epochs:
        return {}
    rows = select(EpochLayers.epoch, EpochLayers.layers).where(
        EpochLayers.job_id == job_id, EpochLayers.epoch.between(epochs[0], epochs[-1])
    )
    found = {row.epoch: row.layers for row in session.execute(rows)}
    return {epoch: found[epoch] for epoch in epochs}
