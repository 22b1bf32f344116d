"""The four forms of MLflow's scoring body -> rows in the order of a model's features.

Columns match by name; those that the model does not know are passed over, as pandas' users expect. A cell that is NaN,
null or absent from a record is missing. Source: mlflow/mlflow, mlflow/utils/proto_json_utils.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service.scoring.schemas import ScoringRequest, Split
from worker.errors import DataError

Rows = list[list[Any]]


def rows_of(request: ScoringRequest, names: Sequence[str]) -> Rows:
    """names: the features, in order. Raises DataError with row and column."""
    if request.dataframe_split is not None:
        return _of_split(request.dataframe_split, names)
    if request.dataframe_records is not None:
        return _of_records(request.dataframe_records, names)
    if isinstance(request.inputs, dict):
        return _of_columns(request.inputs, names)
    return _of_instances(request.inputs or request.instances or [], names)


def _of_split(split: Split, names: Sequence[str]) -> Rows:
    columns = split.columns
    # the names that pandas gives to columns without a name
    if columns is None or columns == list(range(len(columns))):
        return [_of_width(row, len(names), n) for n, row in enumerate(split.data)]
    if len(set(columns)) != len(columns):
        raise DataError("two columns have the same name")
    positions = {name: position for position, name in enumerate(columns)}
    for name in names:
        if name not in positions:
            raise DataError("this column is missing", column=name)
    order = [positions[name] for name in names]
    whole = (_of_width(row, len(columns), n) for n, row in enumerate(split.data))
    return [[row[position] for position in order] for row in whole]


def _of_width(row: Any, width: int, n: int) -> list[Any]:
    if not isinstance(row, list):
        # a list of single values is a column
        row = [row]
    if len(row) != width:
        raise DataError(f"expected {width} cells, got {len(row)}", row=n)
    return [_cell(cell) for cell in row]


def _cell(cell: Any) -> Any:
    """NaN is the one value that differs from itself."""
    return None if cell != cell else cell  # noqa: PLR0124


def _of_records(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Rows:
    """A table has the columns of all its records together."""
    if records:
        known = set().union(*records)
        for name in names:
            if name not in known:
                raise DataError("this column is missing", column=name)
    return [[_cell(record.get(name)) for name in names] for record in records]


def _of_columns(columns: Mapping[str, Sequence[Any]], names: Sequence[str]) -> Rows:
    for name in names:
        if name not in columns:
            raise DataError("this column is missing", column=name)
        if len(columns[name]) != len(columns[names[0]]):
            raise DataError(f"expected {len(columns[names[0]])} cells, got {len(columns[name])}", column=name)
    return [[_single(columns[name][n]) for name in names] for n in range(len(columns[names[0]]))]


def _of_instances(instances: Sequence[Any], names: Sequence[str]) -> Rows:
    """A list a row, by position, or an object a row, in which every column stands."""
    rows = []
    for n, instance in enumerate(instances):
        if isinstance(instance, dict):
            missing = next((name for name in names if name not in instance), None)
            if missing is not None:
                raise DataError("this column is missing", row=n, column=missing)
            rows.append([_single(instance[name]) for name in names])
        else:
            rows.append(_of_width(instance, len(names), n))
    return rows


def _single(cell: Any) -> Any:
    """A tensor's column is often of shape (rows, 1)."""
    return _cell(cell[0] if isinstance(cell, list) and len(cell) == 1 else cell)
