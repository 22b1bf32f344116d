"""Files as their programs write them: each is read for what it is, and trained on by naming its target."""

import gzip
import io
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from flask.testing import FlaskClient

from worker.data.formats import read_file
from worker.errors import DataError
from worker.settings import Limits

ROWS = 40
COLUMNS: dict[str, list[Any]] = {
    "size": [n * 0.5 for n in range(ROWS)],
    "count": [n % 5 for n in range(ROWS)],
    "town": [("K\u00f6ln", "Bonn", "Ulm")[n % 3] for n in range(ROWS)],
    "open": [n % 2 == 0 for n in range(ROWS)],
    "label": [("yes", "no")[n % 2] for n in range(ROWS)],
}
TABLE = pa.table(COLUMNS)


def text(delimiter: str = ",", end: str = "\n") -> str:
    lines = [COLUMNS, *zip(*COLUMNS.values(), strict=True)]
    return end.join(delimiter.join(map(str, line)) for line in lines) + end


def parquet(table: pa.Table = TABLE, **options: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, **options)
    return file.getvalue()


def arrow(make: Callable[..., Any]) -> bytes:
    sink = pa.BufferOutputStream()
    with make(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue().to_pybytes()


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


FILES: dict[str, bytes] = {
    "CSV": text().encode(),
    "CSV with a mark": text().encode("utf-8-sig"),
    "semicolons, Windows line ends": text(";", "\r\n").encode(),
    "tabs": text("\t").encode(),
    "UTF-16": text("\t").encode("utf-16"),
    "Windows-1252": text().encode("cp1252"),
    "gzip": gzip.compress(text().encode()),
    "gzip of UTF-16": gzip.compress(text().encode("utf-16")),
    "zstd": zstd(text().encode()),
    "Parquet": parquet(),
    "Parquet of row groups": parquet(row_group_size=7, compression="gzip"),
    "Parquet of old": parquet(version="1.0", use_dictionary=False, compression="none"),
    "Parquet with pandas' index": parquet(TABLE.append_column("__index_level_0__", pa.array(range(ROWS)))),
    "Parquet of dictionaries": parquet(TABLE.set_column(2, "town", TABLE["town"].dictionary_encode())),
    "gzip of Parquet": gzip.compress(parquet()),
    "Arrow stream": arrow(pa.ipc.new_stream),
    "Arrow file": arrow(pa.ipc.new_file),
    "JSON lines": "\n".join(json.dumps(row) for row in TABLE.to_pylist()).encode(),
    "JSON list": json.dumps(TABLE.to_pylist()).encode(),
}


def upload(client: FlaskClient, content: bytes, kind: str = "application/octet-stream") -> Any:
    return client.post("/v1/datasets", data=content, content_type=kind)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_its_bytes_say(client: FlaskClient, name: str) -> None:
    """Whatever its media type: the same columns, the same figures, the same first rows."""
    answer = upload(client, FILES[name])
    assert answer.status_code == 201, answer.text
    shown = answer.get_json()
    found = {column["name"]: column for column in shown["columns"]}
    assert {name: column["type"] for name, column in found.items()} == {
        "size": "numeric",
        "count": "numeric",
        "town": "categorical",
        "open": "categorical",
        "label": "categorical",
    }
    assert found["town"]["categories"] == ["Bonn", "K\u00f6ln", "Ulm"]
    assert found["open"]["categories"] == ["false", "true"]
    assert (found["size"]["maximum"], found["count"]["mean"]) == (19.5, 2)
    rows = client.get(f"/v1/datasets/{shown['id']}/rows?limit=3").get_json()["rows"]
    assert rows == [[0, 0, "K\u00f6ln", "true", "yes"], [0.5, 1, "Bonn", "false", "no"], [1, 2, "Ulm", "true", "yes"]]
    # the same file again is the same dataset
    assert upload(client, FILES[name]).get_json()["id"] == shown["id"]
    wanted = {"UTF-16": "utf-16", "gzip of UTF-16": "utf-16", "Windows-1252": "cp1252"}.get(name)
    assert [remark["detail"] for remark in shown["remarks"]] == (
        [] if wanted is None else [f"the text of the file was read as {wanted}"]
    )


@pytest.mark.parametrize("name", ["Parquet", "gzip of UTF-16", "JSON lines"])
def test_a_job_trains_on_any_of_them(client: FlaskClient, succeeded: Callable[..., str], name: str) -> None:
    """And its network is asked with raw rows."""
    dataset_id = upload(client, FILES[name]).get_json()["id"]
    job_id = succeeded(dataset={"source": "stored", "id": dataset_id}, target="label", training={"epochs": 2})
    rows = [{"size": 1, "count": 2, "town": "K\u00f6ln", "open": True}]
    answer = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": rows}).get_json()
    assert answer["predictions"][0] in ("yes", "no")
    assert "warnings" not in answer


def test_types_that_a_network_does_not_know(client: FlaskClient) -> None:
    """Decimals are numbers, days and moments are seconds, and missing cells are missing."""
    table = pa.table(
        {
            "price": pa.array([Decimal("1.50"), None, Decimal("3.25")], pa.decimal128(8, 2)),
            "day": pa.array([date(2026, 1, n) for n in (1, 2, 3)]),
            "at": pa.array([datetime(2026, 1, n, 12) for n in (1, 2, 3)], pa.timestamp("us")),  # noqa: DTZ001
            "big": pa.array([2**64 - 1, None, 3], pa.uint64()),
            "small": pa.array([1, 2, None], pa.int8()),
            "none": pa.nulls(3),
            "text": pa.array(["1.0", " NA", "x"], pa.large_string()),
        }
    )
    shown = upload(client, parquet(table), "application/vnd.apache.parquet").get_json()
    found = {column["name"]: column for column in shown["columns"]}
    assert shown["media_type"] == "application/vnd.apache.parquet"
    assert (found["price"]["type"], found["price"]["missing"], found["price"]["maximum"]) == ("numeric", 1, 3.25)
    assert (found["day"]["minimum"], found["at"]["minimum"]) == (1767225600, 1767225600 + 12 * 3600)
    assert [remark["column"] for remark in shown["remarks"] if remark["code"] == "form"] == ["day", "at"]
    assert found["big"]["maximum"] == 2.0**64
    assert (found["small"]["missing"], found["none"]["missing"]) == (1, 3)
    assert (found["text"]["categories"], found["text"]["missing"]) == (["1", "x"], 1)
    lists = parquet(pa.table({"a": [[1], [2]], "b": [1, 2]}))
    error = upload(client, lists).get_json()
    assert error["status"] == 422
    assert error["errors"][0]["column"] == "a"
    assert "list" in error["errors"][0]["detail"]


def test_arrays_are_tables(client: FlaskClient) -> None:
    """An NPY's columns are numbered; an NPZ's arrays are columns, or several."""
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10) % 2
    npy, npz, pickled = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, x)
    np.savez_compressed(npz, x=x, y=y)
    np.savez(pickled, x=np.array([{}, {}], object))
    names = [
        [column["name"] for column in upload(client, file.getvalue()).get_json()["columns"]] for file in (npy, npz)
    ]
    assert names == [["0", "1"], ["x_0", "x_1", "y"]]
    assert upload(client, pickled.getvalue()).status_code == 422


@pytest.mark.parametrize("name", sorted(set(FILES) - {"CSV", "CSV with a mark", "tabs", "Windows-1252", "UTF-16"}))
def test_a_file_that_is_cut_short_is_refused_or_read_to_its_end(client: FlaskClient, name: str) -> None:
    """Never a 5xx."""
    content = FILES[name]
    for length in (4, 12, len(content) // 2, len(content) - 3):
        answer = upload(client, content[:length])
        assert answer.status_code in (200, 201, 422), (length, answer.text)
    if name.startswith(("gzip", "Parquet", "zstd")):
        assert answer.status_code == 422


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_what_unpacks_without_end_is_refused(pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of gzip may be a gigabyte of text."""
    monkeypatch.setattr("worker.data.formats.UNPACKED_BYTES", 3 * 2**20)
    packed = pack(b"a,b\n" + b"1,2\n" * 2**20)
    assert len(packed) < 2**16
    with pytest.raises(DataError, match="unpacks to more than 3145728 bytes"):
        read_file(packed, Limits())
    assert read_file(pack(b"a,b\n1,2\n"), Limits()).content == b"a,b\n1,2\n"


def test_an_arrow_file_that_points_outside_itself_is_refused(client: FlaskClient) -> None:
    """Its offsets are what its writer says: memory that is not the file's must not be read."""
    content = arrow(pa.ipc.new_stream)
    offsets = np.cumsum([0, *(len(town.encode()) for town in COLUMNS["town"])]).astype("<i4").tobytes()
    place = content.index(offsets)
    for wrong in (10**9, -5, 3000):
        bad = content[: place + 4] + int(wrong).to_bytes(4, "little", signed=True) + content[place + 8 :]
        answer = upload(client, bad)
        assert answer.status_code == 422, wrong
        assert "can be read" in answer.get_json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (parquet(pa.table([[1], [2]], names=["a", "a "])), "two columns have this name"),
        (parquet(pa.table({"__index_level_0__": [1, 2]})), "no rows or no columns"),
        (b'[{"a": 1, "a": 2}]', "a member twice"),
        (b'[{"a": 36893488147419103232}]', "can be read"),
        (b'{"a": 1}\n{"a": "x"}\n', "can be read"),
        (parquet(pa.table({"a": ["x\0y", "z"]})), "NUL"),
        (b"{}\n", "no rows or no columns"),
    ],
)
def test_a_faulty_file_is_told_why(client: FlaskClient, content: bytes, said: str) -> None:
    """In words, not as a crash of its parser."""
    answer = upload(client, content)
    assert answer.status_code == 422
    assert said in answer.get_json()["errors"][0]["detail"]


def test_a_time_is_one_in_each_format(client: FlaskClient) -> None:
    """In JSON lines as in a list, CSV and Parquet, as text or typed; rows are shown as they may be sent."""
    days = ["2026-01-01", "2026-01-02", "2026-01-01"]
    table = pa.table({"day": [date.fromisoformat(day) for day in days], "n": [0, 1, 2]})
    files = [
        "\n".join(json.dumps({"day": day, "n": n}) for n, day in enumerate(days)).encode(),
        json.dumps([{"day": day, "n": n} for n, day in enumerate(days)]).encode(),
        ("day,n\n" + "".join(f"{day},{n}\n" for n, day in enumerate(days))).encode(),
        parquet(table),
        parquet(table.set_column(0, "day", pa.array(days))),
    ]
    for content in files:
        shown = upload(client, content).get_json()
        found = shown["columns"][0]
        assert (found["type"], found["minimum"], found["maximum"]) == ("numeric", 1767225600, 1767312000)
        rows = client.get(f"/v1/datasets/{shown['id']}/rows").get_json()["rows"]
        assert rows == [[day, n] for n, day in enumerate(days)]


def test_a_csv_may_begin_with_a_bracket(client: FlaskClient) -> None:
    """Its first line is not JSON."""
    for first in ("[x]", "{x}"):
        names = [column["name"] for column in upload(client, f"{first},y\n1,2\n3,4\n".encode()).get_json()["columns"]]
        assert names == [first, "y"]


def test_whole_floats_are_categories_in_each_format(client: FlaskClient, post: Callable[..., Any]) -> None:
    """NPY has one type for all, and pandas writes integers with a missing cell as floats."""
    table = pa.table({"x": [n * 0.5 for n in range(30)], "label": [float(n % 2) for n in range(30)]})
    npz = io.BytesIO()
    np.savez(npz, x=table["x"].to_numpy(), label=table["label"].to_numpy())
    for content in (parquet(table), npz.getvalue(), b"x,label\n" + b"1.5,0.0\n2.5,1.0\n" * 15):
        dataset = {"source": "stored", "id": upload(client, content).get_json()["id"]}
        known = {"columns": {"label": {"type": "categorical"}}, "target": "label"}
        assert post(query="?dry_run=true", dataset=dataset, **known).get_json()["classes"] == ["0", "1"]


@pytest.mark.parametrize(
    ("charset", "encoded", "town"),
    [("windows-1251", "cp1251", "\u041c\u043e\u0441\u043a\u0432\u0430"), ("Shift_JIS", "shift_jis", "\u6771\u4eac")],
)
def test_a_client_may_name_an_encoding(client: FlaskClient, charset: str, encoded: str, town: str) -> None:
    """Which can't be found out; one that is not known is refused."""
    content = f"a,town\n1,{town}\n2,x\n".encode(encoded)
    shown = upload(client, content, f"text/csv; charset={charset}").get_json()
    assert shown["columns"][1]["categories"] == sorted([town, "x"])
    assert upload(client, content, "text/csv; charset=rot13").status_code == 415
    assert upload(client, content, "text/csv; charset=utf-8").status_code == 422


def test_a_cell_of_a_csv_is_read_by_the_network_that_is_asked(
    client: FlaskClient, succeeded: Callable[..., str]
) -> None:
    """5.500 alone looks like five and a half; to a network whose column has separators of thousands it is 5,500."""
    lines = [f"{1 + n % 9}.{100 + n},5;{'ab'[n % 2]}" for n in range(40)]
    uploaded = upload(client, "\n".join(["x;label", *lines]).encode()).get_json()
    job_id = succeeded(dataset={"source": "stored", "id": uploaded["id"]}, target="label", training={"epochs": 2})
    path, kinds = f"/v1/jobs/{job_id}/predict", {"Content-Type": "text/csv", "Accept": "application/json"}
    wanted = client.post(path, json={"rows": [[5500]]}).get_json()["probabilities"]
    assert client.post(path, json={"rows": [["5.500"]]}).get_json()["probabilities"] == wanted
    assert client.post(path, data="x\n5.500\n", headers=kinds).get_json()["probabilities"] == wanted


@pytest.mark.parametrize("query", ["text=%20", "decimal=,&thousands=,", "missing=" + "%E0%A5%98" * 65, "delimiter=x"])
def test_what_a_sender_can_not_declare_is_a_fault_of_its_parameter(client: FlaskClient, query: str) -> None:
    answer = client.post(f"/v1/datasets?{query}", data=b"a,b\n1,2\n", content_type="text/csv")
    assert answer.status_code == 422, answer.text


def test_times_at_the_ends_of_the_calendar_are_shown(client: FlaskClient) -> None:
    """As they were written, or as what they were read as."""
    cells = ["0001-01-01T00:00", "9999-12-31 23:59:59"]
    table = pa.table({"at": pa.array([10**12, 0], pa.timestamp("s")), "n": [1, 2]})
    for content in (("at,n\n" + "".join(f"{cell},1\n" for cell in cells)).encode(), parquet(table)):
        shown = upload(client, content)
        assert shown.status_code == 201
        assert client.get(f"/v1/datasets/{shown.get_json()['id']}/rows").status_code == 200


def test_a_number_past_all_floats_is_refused_by_each_scale(client: FlaskClient, succeeded: Callable[..., str]) -> None:
    for scale in ("standard", "quantile", "robust"):
        job_id = succeeded(training={"epochs": 1}, encoding={"numbers": {"scale": scale, "smooth_clip": True}})
        answer = client.post(f"/v1/jobs/{job_id}/predict", json={"rows": [["1e400", 0.0]]})
        assert (answer.status_code, answer.get_json()["errors"][0]["row"]) == (422, 0), scale
