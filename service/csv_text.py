"""A table -> CSV that a spreadsheet does not run: no cell of text begins a formula."""

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv

FORMULA = r"^[=+\-@\t\r]"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
MARK = "'"
"A spreadsheet takes what follows it as text. Source: OWASP, CSV Injection."


def csv_bytes(table: pa.Table, *, header: bool = True) -> bytes:
    """Return the table as CSV. A text that a spreadsheet would run, and that is not a number, begins with MARK."""
    names = _marked(pa.array(table.column_names, pa.string())).to_pylist()
    columns = [_marked(column) if pa.types.is_string(column.type) else column for column in table.columns]
    sink = pa.BufferOutputStream()
    safe = pa.Table.from_arrays(columns, names=names)
    pyarrow.csv.write_csv(safe, sink, pyarrow.csv.WriteOptions(include_header=header))
    return bytes(sink.getvalue().to_pybytes())


def _marked(texts: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    compute = pyarrow.compute
    is_formula = compute.and_not(
        compute.match_substring_regex(texts, FORMULA), compute.match_substring_regex(texts, NUMBER)
    )
    if not compute.any(is_formula).as_py():
        return texts
    return compute.if_else(is_formula, compute.binary_join_element_wise(MARK, texts, ""), texts)
