"""Curves in blocks of 32 epochs with summaries, instead of a row for each epoch: a fifth to a third of the room.

The formats are copied from `worker.records.packing`, `thinning` and `blocks` as they were: those may change later.
"""

import json
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from alembic import op
from safetensors import numpy as safetensors

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

Id = sa.String(length=40)
Big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Json = sa.JSON(none_as_null=True)
Float = sa.Float(precision=53)

Columns = dict[str, Any]
NUMBERS = ("epoch", "seq", "attempt", "is_best", "has_layers")
FLOATS = ("train_loss", "validation_loss", "learning_rate", "gradient_norm", "seconds")
EXTREMES = ("train_loss", "validation_loss", "gradient_norm")
BLOCK_EPOCHS = 32
ROWS_AT_ONCE = 4096
# for each level: the number of epochs in a group, and in a row
LEVELS = ((64, 512), (512, 4096), (4096, 32_768), (32_768, 262_144))

METADATA = sa.MetaData()
EPOCHS = sa.Table(
    "epochs",
    METADATA,
    sa.Column("job_id", Id, primary_key=True),
    sa.Column("epoch", sa.Integer(), primary_key=True),
    *[sa.Column(name, Big if name == "seq" else sa.Integer()) for name in ("seq", "attempt")],
    *[sa.Column(name, Float) for name in FLOATS],
    sa.Column("metrics", Json),
    sa.Column("layers", Json),
    sa.Column("is_best", sa.Boolean()),
    sa.Column("project_id", Id),
)
FULL, LAST = (
    sa.Table(
        name,
        METADATA,
        sa.Column("job_id", Id, primary_key=True),
        *[sa.Column(column, Big) for column in ("first_epoch", "last_epoch", "first_seq", "last_seq")],
        sa.Column("content", sa.LargeBinary()),
        sa.Column("project_id", Id),
    )
    for name in ("epoch_blocks", "last_blocks")
)
BLOCKS = sa.union_all(sa.select(FULL), sa.select(LAST)).subquery()
SUMMARIES = sa.Table(
    "curve_summaries",
    METADATA,
    sa.Column("job_id", Id, primary_key=True),
    *[sa.Column(name, sa.Integer(), primary_key=True) for name in ("level", "first_epoch")],
    sa.Column("content", sa.LargeBinary()),
    sa.Column("project_id", Id),
)
LAYERS = sa.Table(
    "epoch_layers",
    METADATA,
    sa.Column("job_id", Id, primary_key=True),
    sa.Column("epoch", sa.Integer(), primary_key=True),
    sa.Column("layers", Json),
    sa.Column("project_id", Id),
)


def upgrade() -> None:
    op.create_table(
        "epoch_blocks",
        *_block_columns("epoch_blocks"),
        sa.PrimaryKeyConstraint("job_id", "first_epoch", name=op.f("pk_epoch_blocks")),
        sa.UniqueConstraint("job_id", "first_seq", name=op.f("uq_epoch_blocks_job_id_first_seq")),
    )
    op.create_table(
        "last_blocks",
        *_block_columns("last_blocks"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_last_blocks")),
    )
    op.create_table(
        "curve_summaries",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("first_epoch", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        *_owned("curve_summaries"),
        sa.PrimaryKeyConstraint("job_id", "level", "first_epoch", name=op.f("pk_curve_summaries")),
    )
    op.create_table(
        "epoch_layers",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("layers", Json, nullable=False),
        *_owned("epoch_layers"),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_epoch_layers")),
    )
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        # room in the page for the next version of a block, which is not stored apart up to half a page
        op.execute("ALTER TABLE last_blocks SET (fillfactor = 50, toast_tuple_target = 4080)")
    jobs = sa.select(EPOCHS.c.job_id, EPOCHS.c.project_id).where(EPOCHS.c.epoch == 1).order_by(EPOCHS.c.job_id)
    for job_id, project_id in _in_batches(connection, jobs, EPOCHS.c.job_id):
        _move_job(connection, {"job_id": job_id, "project_id": project_id})
    op.drop_table("epochs")


def downgrade() -> None:
    op.create_table(
        "epochs",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", Big, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("train_loss", Float, nullable=True),
        sa.Column("validation_loss", Float, nullable=True),
        sa.Column("learning_rate", Float, nullable=False),
        sa.Column("gradient_norm", Float, nullable=True),
        sa.Column("metrics", Json, nullable=False),
        sa.Column("layers", Json, nullable=True),
        sa.Column("seconds", Float, nullable=False),
        sa.Column("is_best", sa.Boolean(), nullable=True),
        *_owned("epochs"),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_epochs")),
        sa.UniqueConstraint("job_id", "seq", name=op.f("uq_epochs_job_id_seq")),
    )
    connection = op.get_bind()
    jobs = sa.select(BLOCKS.c.job_id, BLOCKS.c.project_id).where(BLOCKS.c.first_epoch == 1).order_by(BLOCKS.c.job_id)
    for job_id, project_id in _in_batches(connection, jobs, BLOCKS.c.job_id):
        layers = dict(
            connection.execute(sa.select(LAYERS.c.epoch, LAYERS.c.layers).where(LAYERS.c.job_id == job_id)).all()
        )
        blocks = sa.select(BLOCKS.c.first_epoch, BLOCKS.c.content).where(BLOCKS.c.job_id == job_id)
        for _, content in _in_batches(connection, blocks.order_by(BLOCKS.c.first_epoch), BLOCKS.c.first_epoch):
            owner = {"job_id": job_id, "project_id": project_id}
            connection.execute(sa.insert(EPOCHS), [owner | row for row in _rows(_unpack(content), layers)])
    for table in ("epoch_layers", "curve_summaries", "last_blocks", "epoch_blocks"):
        op.drop_table(table)


def _block_columns(table: str) -> tuple[Any, ...]:
    return (
        sa.Column("job_id", Id, nullable=False),
        sa.Column("first_epoch", sa.Integer(), nullable=False),
        sa.Column("last_epoch", sa.Integer(), nullable=False),
        sa.Column("first_seq", Big, nullable=False),
        sa.Column("last_seq", Big, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        *_owned(table),
    )


def _owned(table: str) -> tuple[Any, ...]:
    return (
        sa.Column("project_id", Id, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f(f"fk_{table}_job_id_jobs"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f(f"fk_{table}_project_id_projects")),
    )


def _in_batches(connection: sa.Connection, rows: sa.Select[Any], key: sa.ColumnElement[Any]) -> Iterator[Any]:
    """Yield the rows, of which `key` is the first column and the order, some at a time."""
    after: Any = None
    while batch := connection.execute((rows if after is None else rows.where(key > after)).limit(200)).all():
        yield from batch
        after = batch[-1][0]


def _move_job(connection: sa.Connection, owner: dict[str, str]) -> None:
    last = 0
    held: dict[str, Any] = {}
    found = sa.select(EPOCHS).where(EPOCHS.c.job_id == owner["job_id"]).order_by(EPOCHS.c.epoch).limit(ROWS_AT_ONCE)
    while rows := connection.execute(found.where(EPOCHS.c.epoch > last)).mappings().all():
        columns, last = _columns(rows), rows[-1]["epoch"]
        *full, rest = [owner | _block(part) for part in _parts(columns)]
        if held:
            full.insert(0, held)
        if full:
            connection.execute(sa.insert(FULL), full)
        held = rest
        layers = [owner | {"epoch": row["epoch"], "layers": row["layers"]} for row in rows if row["layers"] is not None]
        if layers:
            connection.execute(sa.insert(LAYERS), layers)
    connection.execute(sa.insert(LAST).values(held))
    below = sa.select(BLOCKS.c.content).where(BLOCKS.c.job_id == owner["job_id"])
    name: sa.ColumnElement[Any] = BLOCKS.c.first_epoch
    for level, (group, span) in enumerate(LEVELS, 1):
        for first in range(1, last - span + 2, span):
            contents = connection.scalars(below.where(name.between(first, first + span - 1)).order_by(name))
            packed = _pack(_summary(_joined([_unpack(content) for content in contents]), group))
            row = {"level": level, "first_epoch": first, "content": packed}
            connection.execute(sa.insert(SUMMARIES), [owner | row])
        name = SUMMARIES.c.first_epoch
        below = sa.select(SUMMARIES.c.content).where(SUMMARIES.c.job_id == owner["job_id"], SUMMARIES.c.level == level)


def _columns(rows: Sequence[Any]) -> Columns:
    best = {None: -1, False: 0, True: 1}
    columns = {name: [row[name] for row in rows] for name in ("epoch", "seq", "attempt")}
    columns |= {"is_best": [best[row["is_best"]] for row in rows]}
    columns |= {"has_layers": [int(row["layers"] is not None) for row in rows]}
    whole: Columns = {name: np.array(values, np.int64) for name, values in columns.items()}
    whole |= {name: _floats([row[name] for row in rows]) for name in FLOATS}
    for name in dict.fromkeys(name for row in rows for name in row["metrics"]):
        whole[f"metrics.{name}"] = _floats([row["metrics"].get(name, math.inf) for row in rows])
    return whole


def _floats(values: list[float | None]) -> Any:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _parts(columns: Columns) -> list[Columns]:
    cuts = np.flatnonzero(np.diff((columns["epoch"] - 1) // BLOCK_EPOCHS)) + 1
    return [_chosen(columns, positions) for positions in np.split(np.arange(len(columns["epoch"])), cuts)]


def _chosen(columns: Columns, which: Any) -> Columns:
    return {name: column[which] for name, column in columns.items()}


def _block(columns: Columns) -> dict[str, Any]:
    ends = ((f"{end}_{name}", int(columns[name][n])) for end, n in (("first", 0), ("last", -1)) for name in NUMBERS[:2])
    return dict(ends) | {"content": _pack(columns)}


def _pack(columns: Columns) -> bytes:
    names = [name for name in columns if name not in NUMBERS]
    numbers = np.diff(np.stack([columns[name] for name in NUMBERS]), prepend=0, axis=1)
    arrays = {"numbers": numbers, "figures": np.stack([columns[name] for name in names])}
    return zlib.compress(safetensors.save(arrays, {"names": json.dumps(names)}), 1)


def _unpack(content: bytes) -> Columns:
    file = zlib.decompress(content)
    header = json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])
    arrays = safetensors.load(file)
    columns: Columns = dict(zip(NUMBERS, np.cumsum(arrays["numbers"], axis=1), strict=True))
    return columns | dict(zip(json.loads(header["__metadata__"]["names"]), arrays["figures"], strict=True))


def _joined(parts: list[Columns]) -> Columns:
    names = dict.fromkeys(name for part in parts for name in part)
    absent = [np.full(len(part["epoch"]), math.inf) for part in parts]
    return {
        name: np.concatenate([part.get(name, none) for part, none in zip(parts, absent, strict=True)]) for name in names
    }


def _summary(columns: Columns, group: int) -> Columns:
    bucket = (columns["epoch"] - 1) // group
    starts = np.flatnonzero(np.diff(bucket, prepend=-1))
    lengths = np.diff(starts, append=len(bucket))
    kept = columns["has_layers"] == 1
    kept[starts + lengths - 1] = True
    for name, column in columns.items():
        if name in EXTREMES or name.startswith("metrics."):
            values = np.where(np.isfinite(column), column, np.nan)
            for extreme in (np.fmin, np.fmax):
                found = np.flatnonzero(values == np.repeat(extreme.reduceat(values, starts), lengths))
                kept[found[np.diff(bucket[found], prepend=-1) != 0]] = True
    return _chosen(columns, kept)


def _rows(columns: Columns, layers: dict[int, Any]) -> Iterator[dict[str, Any]]:
    best = {-1: None, 0: False, 1: True}
    for n, epoch in enumerate(columns["epoch"].tolist()):
        numbers = {name: int(columns[name][n]) for name in ("epoch", "seq", "attempt")}
        figures = {name: _value(column[n]) for name, column in columns.items() if name not in NUMBERS}
        metrics = {name[8:]: value for name, value in figures.items() if name not in FLOATS and value != math.inf}
        row = numbers | {name: figures[name] for name in FLOATS} | {"metrics": metrics, "layers": layers.get(epoch)}
        yield row | {"is_best": best[int(columns["is_best"][n])]}


def _value(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)
