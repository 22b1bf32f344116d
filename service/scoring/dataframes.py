"""The four forms of MLflow's scoring body -> rows in the order of a model's features.

Columns match by name. Columns that the model does not know are ignored, as users of pandas expect. A cell is missing if
it is NaN, null or absent from a record. Source: mlflow/mlflow, mlflow/utils/proto_json_utils.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service.scoring.schemas import ScoringRequest, Split
from worker.errors import DataError
from worker.specs.base import column_name

Rows = list[list[Any]]


def read_rows(request: ScoringRequest, names: Sequence[str]) -> Rows:
    """Return the rows. names: the features, in order. Raises DataError with row and column."""
    names = [column_name(name) for name in names]
    if request.dataframe_split is not None:
        return _read_split(request.dataframe_split, names)
    if request.dataframe_records is not None:
        return _read_records(request.dataframe_records, names)
    if isinstance(request.inputs, dict):
        return _read_columns(request.inputs, names)
    return _read_instances(request.inputs or request.instances or [], names)


def _read_split(split: Split, names: Sequence[str]) -> Rows:
    if split.columns is None:
        return [_cells(row, len(names), n) for n, row in enumerate(split.data)]
    columns = [column_name(str(name)) for name in split.columns]
    if split.columns == list(range(len(columns))) and not set(names).issubset(columns):
        # the names that pandas gives to columns without names
        return [_cells(row, len(names), n) for n, row in enumerate(split.data)]
    if len(set(columns)) != len(columns):
        raise DataError("two columns have the same name")
    positions = {name: position for position, name in enumerate(columns)}
    _check_present(names, positions)
    order = [positions[name] for name in names]
    whole = (_cells(row, len(columns), n) for n, row in enumerate(split.data))
    return [[row[position] for position in order] for row in whole]


def _check_present(names: Sequence[str], present: Mapping[Any, Any] | set[str], row: int | None = None) -> None:
    missing = next((name for name in names if name not in present), None)
    if missing is not None:
        raise DataError("this column is missing", row=row, column=missing)


def _cells(row: Any, width: int, n: int) -> list[Any]:
    """Return the cells of row n. Raises DataError unless there are `width` of them."""
    if not isinstance(row, list):
        # a list of single values is one column
        row = [row]
    if len(row) != width:
        raise DataError(f"expected {width} cells, got {len(row)}", row=n)
    return [_cell(cell) for cell in row]


def _cell(cell: Any) -> Any:
    # NaN is the only value that differs from itself
    return None if cell != cell else cell  # noqa: PLR0124


def _read_records(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Rows:
    """Return the rows of a table whose columns are those of all its records together."""
    rows = [_named(record, n) for n, record in enumerate(records)]
    if rows:
        _check_present(names, set().union(*rows))
    return [[_cell(row.get(name)) for name in names] for row in rows]


def _named(record: Mapping[str, Any], row: int | None = None) -> dict[str, Any]:
    """Return what a record has under the names that columns have. Raises DataError if two of its names are one."""
    named = {column_name(name): cell for name, cell in record.items()}
    if len(named) < len(record):
        raise DataError("two columns have the same name", row=row)
    return named


def _read_columns(given: Mapping[str, Sequence[Any]], names: Sequence[str]) -> Rows:
    columns = _named(given)
    _check_present(names, columns)
    rows = len(columns[names[0]])
    for name in names:
        if len(columns[name]) != rows:
            raise DataError(f"expected {rows} cells, got {len(columns[name])}", column=name)
    return [[_single(columns[name][n]) for name in names] for n in range(rows)]


def _read_instances(instances: Sequence[Any], names: Sequence[str]) -> Rows:
    """Return the rows, each a list by position or an object that has every column."""
    rows = []
    for n, instance in enumerate(instances):
        if isinstance(instance, dict):
            named = _named(instance, n)
            _check_present(names, named, row=n)
            rows.append([_single(named[name]) for name in names])
        else:
            rows.append(_cells(instance, len(names), n))
    return rows


def _single(cell: Any) -> Any:
    """Return the cell, which may be in a list of one: a tensor's column often has the shape (rows, 1)."""
    return _cell(cell[0] if isinstance(cell, list) and len(cell) == 1 else cell)
