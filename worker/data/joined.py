"""A job's table and the tables that its parts have of their own -> one table, and the rows of each part in it."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worker.data.cells import category_texts
from worker.data.reading import missing_of
from worker.data.roles import Roles
from worker.data.splits import Rows, Split
from worker.errors import DataError


def with_targets(table: pa.Table, names: Sequence[str]) -> tuple[pa.Table, Rows]:
    """Return the rows that have each of the targets, and their numbers in the table.

    Raises DataError if there is none, or no such column.
    """
    rows = np.arange(table.num_rows)
    for name in names:
        if name not in table.column_names:
            raise DataError("this column is missing", column=name)
        if table[name].null_count:
            is_there = pc.is_valid(table[name])
            table, rows = table.filter(is_there), rows[is_there.to_numpy()]
    if not table.num_rows:
        raise DataError("no row has a target", column=names[0])
    return table, rows


def join_tables(table: pa.Table, split: Split, own: Mapping[str, pa.Table], roles: Roles) -> tuple[pa.Table, Split]:
    """Return the columns of a job, of its table and of its parts' own tables below it, and the rows of each part.

    Raises DataError for a column that an own table lacks, or whose cells are of another type there.
    """
    if not own:
        return table, split
    names = dict.fromkeys([*(feature.name for feature in roles.features), *roles.targets])
    if roles.weight is not None:
        names[roles.weight] = None
    numeric = {feature.name for feature in roles.features if feature.type == "numeric"}
    numeric |= set(roles.targets) if roles.classes is None else set()
    rows, end = split._asdict(), table.num_rows
    tables = [table]
    for part, other in ((part, with_targets(other, roles.targets)[0]) for part, other in own.items()):
        for name in names:
            if name not in other.column_names:
                raise DataError(f"the table of the {part} part lacks this column", column=name)
            if name in numeric and pa.types.is_string(other[name].type):
                raise DataError(f"has text in the table of the {part} part; it is numeric", column=name)
        rows[part] = np.arange(end, end + other.num_rows)
        end += other.num_rows
        tables.append(other)
    columns = {name: _below([each[name] for each in tables], missing_of(table.schema)) for name in names}
    return pa.table(columns), Split(**rows)


def _below(columns: list[pa.ChunkedArray], missing: Sequence[str]) -> pa.ChunkedArray:
    """Return columns below each other: as text if one of them is, as floats if one of them is."""
    if len({str(column.type) for column in columns}) > 1:
        if any(pa.types.is_string(column.type) for column in columns):
            columns = [category_texts(column, missing) for column in columns]
        else:
            columns = [column.cast(pa.float64(), safe=False) for column in columns]
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
