"""Tables: reading and profiling a CSV against Arrow's own reading, and encoding against scikit-learn's, in one run."""

import io
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.csv
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from worker.data.encoding import encode_table
from worker.data.fitting import fit_encoders
from worker.data.profiles import profile_table
from worker.data.readers import CSV, read_table
from worker.data.roles import assign_roles
from worker.settings import Limits
from worker.specs.job import Job

ROWS, NUMBERS, TEXTS, ROUNDS = 1_000_000, 20, 10, 3
CSV_ROWS = 500_000
LIMITS = Limits(rows=10_000_000)
JOB = {"dataset": {"source": "builtin", "name": "iris"}, "target": "y", "network": {"layers": []}}


def table(rows: int) -> pa.Table:
    """Return numbers of which 2 % are missing, texts of eight values, and a target of two classes."""
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(NUMBERS, rows))
    numbers[generator.random(numbers.shape) < 0.02] = np.nan
    names = np.array([f"kind {n}" for n in range(8)], object)
    columns = {f"n{n}": pa.array(column, from_pandas=True) for n, column in enumerate(numbers)}
    columns |= {f"t{n}": pa.array(names[generator.integers(0, 8, rows)]) for n in range(TEXTS)}
    return pa.table(columns | {"y": pa.array(["a", "b"]).take(pa.array(generator.integers(0, 2, rows)))})


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def compare(label: str, ours: Callable[[], object], theirs: Callable[[], object], peer: str) -> None:
    pairs = [(timed(ours), timed(theirs)) for _ in range(ROUNDS)]
    mine, other = (median(seconds) for seconds in zip(*pairs, strict=True))
    ratio = median(b / a for a, b in pairs)
    print(f"{label:34} {mine:6.2f} s, {peer} {other:6.2f} s: {ratio:.2f} times as fast")


def measure_encoding() -> None:
    known = table(ROWS)
    roles = assign_roles(Job.model_validate(JOB), profile_table(known, LIMITS), LIMITS)
    # as their users have it: one array of objects for all columns
    numbers = np.stack([known[f"n{n}"].to_numpy() for n in range(NUMBERS)], axis=1)
    texts = np.stack([known[f"t{n}"].to_numpy() for n in range(TEXTS)], axis=1)
    rows = np.concatenate([numbers.astype(object), texts], axis=1)
    imputed = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    indicated = OneHotEncoder(sparse_output=False, dtype=np.float32)
    split = [("n", imputed, slice(0, NUMBERS)), ("t", indicated, slice(NUMBERS, None))]
    peer = ColumnTransformer(split)
    encoders = fit_encoders(known, roles)
    peer.fit(rows)
    compare("encode", lambda: encode_table(known, encoders), lambda: peer.transform(rows), "ColumnTransformer")
    compare(
        "fit and encode",
        lambda: encode_table(known, fit_encoders(known, roles)),
        lambda: peer.fit_transform(rows),
        "ColumnTransformer",
    )


def measure_reading() -> None:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table(CSV_ROWS), sink)
    content = sink.getvalue()
    one_thread = pyarrow.csv.ReadOptions(use_threads=False)
    print(f"a CSV of {len(content) / 1e6:.0f} MB")
    compare(
        "read and profile",
        lambda: profile_table(read_table(content, CSV, LIMITS), LIMITS),
        lambda: pyarrow.csv.read_csv(pa.BufferReader(content), read_options=one_thread),
        "pyarrow's read_csv",
    )


def measure() -> None:
    measure_encoding()
    measure_reading()
