"""Hostile files of every format that a client may send: bombs made by hand, and whole files changed at random."""

import gzip
import io
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
from onnx import helper, numpy_helper
from safetensors import numpy as safetensors

UPLOAD, IMPORT, PREDICT = "/v1/datasets?name=t", "/v1/models/hostile/versions", "/v1/models/iris/predict"
CSV, NPY, ARROW, JSON = "text/csv", "application/x-npy", "application/vnd.apache.arrow.stream", "application/json"
BINARY, FORM = "application/octet-stream", "multipart/form-data; boundary=x"
ROW = [5.1, 3.5, 1.4, 0.2]
NAMES = ("sepal length", "sepal width", "petal length", "petal width")


class Sent(NamedTuple):
    """One request. name: what the file is, for a test's message."""

    name: str
    path: str
    media_type: str
    content: bytes


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([ROW] * 5))
    return file.getvalue()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, x=np.array([ROW] * 5), label=np.arange(5))
    return file.getvalue()


def _parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1.5, None, 3.0] * 5, "label": ["x", "y", "x"] * 5}), file)
    return file.getvalue()


def _arrow() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table({name: [value] * 5 for name, value in zip(NAMES, ROW, strict=True)})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _onnx() -> bytes:
    w, b = (
        numpy_helper.from_array(np.ones((4, 3), np.float32), "w"),
        numpy_helper.from_array(np.ones(3, np.float32), "b"),
    )
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["z"]), helper.make_node("Relu", ["z"], ["y"])]
    shape = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, n]) for name, n in (("x", 4), ("y", 3))]
    graph = helper.make_graph(nodes, "g", shape[:1], shape[1:], [w, b])
    return bytes(helper.make_model(graph).SerializeToString())


def _safetensors() -> bytes:
    return bytes(safetensors.save({"0.weight": np.ones((3, 4), np.float32), "0.bias": np.ones(3, np.float32)}))


def _form(content: bytes, description: bytes | None = None) -> bytes:
    parts = {b'file"; filename="t': content} | ({} if description is None else {b"description": description})
    head = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    return b"".join(head % part for part in parts.items()) + b"--x--\r\n"


WHOLE: dict[str, tuple[str, str, bytes]] = {
    "CSV upload": (UPLOAD, CSV, b"a,b,label\n" + b"1,x,2.5\n,y,3\n" * 20),
    "gzip upload": (UPLOAD, BINARY, gzip.compress(b"a,b,label\n" + b"1,x,2.5\n,y,3\n" * 20)),
    "Parquet upload": (UPLOAD, BINARY, _parquet()),
    "Arrow upload": (UPLOAD, BINARY, _arrow()),
    "NPZ upload": (UPLOAD, BINARY, _npz()),
    "JSON lines upload": (UPLOAD, BINARY, b'{"a": 1.5, "label": "x"}\n{"a": null, "label": "y"}\n' * 10),
    "multipart upload": (UPLOAD, FORM, _form(b"a,label\n1,2\n2,3\n")),
    "ONNX import": (f"{IMPORT}?format=onnx", BINARY, _onnx()),
    "safetensors import": (
        f"{IMPORT}?format=safetensors",
        FORM,
        _form(_safetensors(), b'{"activations": ["identity"]}'),
    ),
    "CSV rows": (PREDICT, CSV, ",".join(NAMES).encode() + b"\n5.1,3.5,1.4,0.2\n" * 5),
    "NPY rows": (PREDICT, NPY, _npy()),
    "Arrow rows": (PREDICT, ARROW, _arrow()),
    "JSON rows": (PREDICT, JSON, json.dumps({"rows": [ROW] * 3, "top_k": 2}).encode()),
    "v2 rows": (
        "/v2/models/iris/infer",
        JSON,
        json.dumps({"inputs": [{"name": "rows", "shape": [1, 4], "datatype": "FP64", "data": ROW}]}).encode(),
    ),
    "MLflow rows": ("/models/iris/invocations", JSON, json.dumps({"instances": [ROW]}).encode()),
    "a job": (
        "/v1/jobs?dry_run=true",
        JSON,
        json.dumps(
            {
                "dataset": {"source": "inline", "columns": ["a", "label"], "rows": [[1, "x"], [2, "y"]] * 9},
                "target": "label",
                "network": {"layers": [{"type": "dense", "units": 4}]},
                "training": {"epochs": 2},
                "metadata": {"a": [1, {"b": None}]},
            }
        ).encode(),
    ),
}
"A whole file of each format, and where it is sent."


def _safetensors_claiming(**entry: object) -> bytes:
    header = json.dumps({"0.weight": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]} | entry}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * 48


def _npy_claiming(shape: str, content: bytes = b"") -> bytes:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def bombs() -> Iterator[Sent]:
    """Yield small files that claim, or grow to, a large size."""
    million = 10**6
    columns = b",".join(b"c%d" % n for n in range(200_000))
    for name, content in {
        "200,000 columns": columns + b"\n" + columns,
        "a cell of 20 MB": b"a,label\n" + b"x" * 20 * million + b",1\n",
        "a quote that is never closed": b'a,label\n"' + b"1,2\n" * 2 * million,
        "a line of 30 MB": b"a,label\n" + b"1," * 15 * million,
        "a million empty lines": b"a,label\n" + b"\n" * million,
        "6 million rows": b"a,b\n" + b"1,2\n" * 6 * million,
        "NUL": b"a,label\n" + b"\0,\0\n" * 1000,
        "half of UTF-16": "a,label\n1,2\n".encode("utf-16")[:-1],
        "nothing": b"",
        "no encoding": b"a,label\n\x81\x8d,1\n",
    }.items():
        yield Sent(name, UPLOAD, CSV, content)
        yield Sent(f"{name}, as a form", UPLOAD, FORM, _form(content))
        yield Sent(f"{name}, to predict", PREDICT, CSV, content)
    yield from _packed_bombs()
    for shape in ("(65536, 65536)", "(True, 4)", "(-1, -1)", "(4294967296, 4294967296)", "()", "(1.5, 4)"):
        yield Sent(f"NPY of shape {shape}", PREDICT, NPY, _npy_claiming(shape))
    yield Sent("NPY of 80 MB of bytes", PREDICT, NPY, _npy_claiming("(2500000, 4)", b"\0" * 80 * million))
    graph = b"\x0a\x00" * 10 * million
    length = b"".join(bytes([len(graph) >> shift & 127 | 128]) for shift in (0, 7, 14)) + bytes([len(graph) >> 21])
    yield Sent("ONNX of 10 million nodes", f"{IMPORT}?format=onnx", BINARY, b"\x08\x08\x3a" + length + graph)
    for name, content in {
        "a header of 2^63 bytes": b"\xff" * 8,
        "a shape of 2^62": _safetensors_claiming(shape=[2**31, 2**31]),
        "offsets backwards": _safetensors_claiming(data_offsets=[48, 0]),
        "metadata null": _safetensors_claiming().replace(b'{"0', b'{"__metadata__":null,"0'),
        "a million arrays": struct.pack("<Q", 60 * million) + b'"0":{"dtype":"F32","shape":[0]},' * million,
    }.items():
        yield Sent(name, f"{IMPORT}?format=safetensors", BINARY, content)
    schema = pa.schema([(f"c{n}", pa.null()) for n in range(1000)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.nulls(5_000_000) for _ in schema], schema=schema))
    yield Sent("Arrow of 5 billion nulls", PREDICT, ARROW, bytes(sink.getvalue().to_pybytes()))
    for path in (PREDICT, "/v2/models/iris/infer", "/models/iris/invocations", "/v1/jobs"):
        for name, content in {
            "3 million objects": b'{"rows":[' + b"{}," * 3 * million + b"{}]}",
            "20 million lists": b'{"inputs":[' + b"[]," * 20 * million + b"[]]}",
            "a million members": b"{" + b",".join(b'"a%d":1' % n for n in range(million)) + b"}",
            "100,000 brackets": b"[" * 100_000,
            "a text of 60 MB": b'{"name":"' + b"x" * 60 * million + b'\xf0\x9f\x98\x80"}',
            "numbers of 5,000 digits": b'{"rows":[[' + b"9" * 5000 + b"]]}",
        }.items():
            yield Sent(name, path, JSON, content)


def _packed_bombs() -> Iterator[Sent]:
    """Yield uploads that unpack to more than the process has room for."""
    text = b"a,label\n" + b"1.000000000000,2.000000000000\n" * 5_000_000
    yield Sent("gzip of 150 MB", UPLOAD, BINARY, gzip.compress(text, 1))
    yield Sent("gzip of gzip", UPLOAD, BINARY, gzip.compress(gzip.compress(text, 1)))
    wide = pa.table({f"c{n}": pa.array(np.zeros(2_000_000)) for n in range(20)})
    file = io.BytesIO()
    pq.write_table(wide, file, compression="zstd")
    yield Sent("Parquet of 320 MB", UPLOAD, BINARY, file.getvalue())
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros((2_000_000, 20)))
    yield Sent("NPZ of 320 MB", UPLOAD, BINARY, file.getvalue())
    yield Sent("JSON lines of 10 million objects", UPLOAD, BINARY, b'{"a":1}\n' * 10_000_000)


def changed(seed: int) -> Sent:
    """Return a whole file with a few changes that follow from the seed."""
    choose = random.Random(seed)
    name, (path, media_type, content) = choose.choice(list(WHOLE.items()))
    content = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        choose.choice(CHANGES)(content, choose)
    return Sent(f"{name}, seed {seed}", path, media_type, bytes(content))


def _flip(content: bytearray, choose: random.Random) -> None:
    if content:
        content[choose.randrange(len(content))] = choose.randrange(256)


def _cut(content: bytearray, choose: random.Random) -> None:
    del content[choose.randrange(len(content) + 1) :]


def _repeat(content: bytearray, choose: random.Random) -> None:
    start = choose.randrange(len(content) + 1)
    content[start:start] = content[start : start + choose.randint(1, 64)] * choose.choice([2, 50, 2000])


def _claim(content: bytearray, choose: random.Random) -> None:
    """Write a number over four or eight bytes: it may be a length."""
    number = choose.choice([0, 1, -1, 2**31 - 1, -(2**31), 2**20])
    kind = choose.choice(["<i", ">i", "<q"])
    start = choose.randrange(len(content) + 1)
    content[start : start + struct.calcsize(kind)] = struct.pack(kind, number)


def _insert(content: bytearray, choose: random.Random) -> None:
    word = choose.choice(WORDS)
    start = choose.randrange(len(content) + 1)
    content[start:start] = word


CHANGES: list[Callable[[bytearray, random.Random], None]] = [_flip, _flip, _cut, _repeat, _claim, _insert]

WORDS = [
    *(b"\0", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"\n" * 100, b"{}" * 50, b"[[[[", b",,,,"),
    *(b"1e400", b"99999999999999999999", b"\\ud800", b"null", b"NaN", b"-0", b"true"),
    *(b"=cmd()", b"../../etc/passwd"),
]
