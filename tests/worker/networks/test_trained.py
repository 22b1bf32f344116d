"""The value of a trained network: built once from its parts, read from the record, and taken apart into members."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from tests.worker.networks.networks import EVERY_LAYER, encoders_of, mixed, random_network
from worker.backprop.array_names import count_members, layer_number
from worker.errors import NotFoundError, ShapeError
from worker.networks.predictor import Predictor
from worker.networks.safetensors import from_safetensors, to_safetensors
from worker.networks.trained import Trained, read_architecture, read_origin, read_published, read_trained, to_columns
from worker.records.blobs import CHUNK_BYTES, iterate_blob, put_blob
from worker.records.identifiers import DEFAULT_PROJECT
from worker.records.imports import publish_import
from worker.records.sessions import Database
from worker.records.tables import Chunk
from worker.records.weights import find_weights, stored_shapes, to_bytes
from worker.settings import Limits

OUTPUT = {"type": "dense", "units": 3, "activation": "softmax"}


def network(members: int | None = None) -> Trained:
    return random_network([*EVERY_LAYER, OUTPUT], encoders_of(mixed()), members=members)


def stored(database: Database, of: Trained) -> str:
    """Store a network as an import; return the id of its weights."""

    def work(session: Session) -> str:
        blob_id = put_blob(session, DEFAULT_PROJECT, to_bytes(dict(of.arrays)))
        return publish_import(session, DEFAULT_PROJECT, to_columns(of.layers, of.encoders), blob_id)

    return database.write(work)


@pytest.mark.parametrize("members", [None, 3])
def test_the_record_gives_back_what_was_stored(database: Database, members: int | None) -> None:
    """Layers, encoders and arrays are the same, and so is all that follows from them."""
    of = network(members)
    weights_id = stored(database, of)
    with database.reading() as session:
        back, published = read_trained(session, weights_id), read_published(session, weights_id)
    for found in (back, published.trained):
        assert (list(found.layers), found.encoders, found.members) == (list(of.layers), of.encoders, members)
        assert np.array_equal(found.parameters.flat, of.parameters.flat)
    assert (published.weights_id, published.job_id, published.kind, published.spec) == (
        weights_id,
        None,
        "imported",
        None,
    )


def test_arrays_are_in_memory_once_while_they_are_read(database: Database) -> None:
    """A part of the file is copied to its place and let go: 24 MB take less than three parts more."""
    of = random_network([{"type": "dense", "units": units} for units in (1500, 4000)] + [OUTPUT], encoders_of(mixed()))
    weights_id = stored(database, of)
    with database.reading() as session:
        read_architecture(session, weights_id)
        tracemalloc.start()
        found = read_trained(session, weights_id)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert found.parameters.flat.nbytes > 20 * 2**20
    assert peak < found.parameters.flat.nbytes + 3 * CHUNK_BYTES + 2**20


@pytest.mark.parametrize("damage", [b"changed", b"\xff" * 200, b""])
def test_a_network_is_never_made_of_damaged_weights(database: Database, damage: bytes) -> None:
    """Whichever part of a longer file is damaged, and if the header is, it is not found."""
    of = random_network(
        [{"type": "dense", "units": 60_000}, {"type": "dense", "units": 20}, OUTPUT], encoders_of(mixed())
    )
    weights_id = stored(database, of)
    with database.reading() as session:
        content = dict(session.execute(select(Chunk.position, Chunk.content)).all())
    assert len(content) > 1

    def change(position: int, whole: bytes) -> None:
        changing = update(Chunk).where(Chunk.position == position).values(content=whole)
        database.write(lambda session: session.execute(changing))

    for position, whole in content.items():
        change(position, damage and damage + whole[len(damage) :])
        with database.reading() as session, pytest.raises(NotFoundError, match="damaged"):
            read_trained(session, weights_id)
        change(position, whole)


@pytest.mark.parametrize(
    ("whole", "damaged"),
    [
        (b'"shape":[', b'"shape":[1'),
        (b'"shape":[', b'"shape":["2",'),
        (b'"shape":[', b'"shape":[9999999999999999999999'),
        (b'"layers.0.w"', b'"layers.9.w"'),
        (b'"F32"', b'"F64"'),
        (b'"F32"', b'"U32"'),
        (b'"data_offsets":[', b'"data_offsets":[9'),
    ],
)
def test_a_header_that_still_can_be_read_is_not_believed(database: Database, whole: bytes, damaged: bytes) -> None:
    """The digest of a file of several parts is known only at its end: until then nothing that it says is an error."""
    layers = [{"type": "dense", "units": 60_000}, {"type": "dense", "units": 20}, OUTPUT]
    weights_id = stored(database, random_network(layers, encoders_of(mixed())))
    with database.reading() as session:
        first: bytes = session.scalars(select(Chunk.content).where(Chunk.position == 0)).one()
    assert whole in first
    changed = first.replace(whole, damaged, 1)
    length = int.from_bytes(first[:8], "little") + len(changed) - len(first)
    changed = length.to_bytes(8, "little") + changed[8:]
    database.write(lambda session: session.execute(update(Chunk).where(Chunk.position == 0).values(content=changed)))
    with database.reading() as session, pytest.raises(NotFoundError, match="damaged"):
        read_trained(session, weights_id)


def test_weights_that_do_not_exist_are_not_found(database: Database) -> None:
    """Every way of reading raises the same error."""
    reads: list[Callable[..., Any]] = [read_trained, read_published, read_architecture, stored_shapes]
    for read in reads:
        with database.reading() as session, pytest.raises(NotFoundError, match="no such weights"):
            read(session, "wts_0")


@pytest.mark.parametrize("members", [None, 2])
def test_shapes_are_read_without_the_arrays(
    database: Database, monkeypatch: pytest.MonkeyPatch, members: int | None
) -> None:
    """Only the bytes of the header leave the database, however many chunks the file has."""
    layers = [{"type": "dense", "units": units} for units in (4000, 400)]
    of = random_network([*layers, OUTPUT], encoders_of(mixed()), members=members)
    weights_id = stored(database, of)
    read: list[bytes] = []
    with database.reading() as session:
        assert len(session.scalars(select(Chunk.position)).all()) > 1
        scalars = session.scalars

        def counted(statement: Any) -> list[bytes]:
            found = scalars(statement).all()
            read.extend(found)
            return list(found)

        monkeypatch.setattr(session, "scalars", counted)
        shapes = stored_shapes(session, weights_id)
    assert shapes == {name: array.shape for name, array in of.arrays.items()}
    header = int.from_bytes(to_bytes(dict(of.arrays))[:8], "little")
    # the length alone, then the length with the header
    assert sum(map(len, read)) == 8 + 8 + header


def test_an_architecture_needs_only_the_first_chunk(database: Database) -> None:
    """Layers, encoders and the number of members are there although the rest of the arrays is lost."""
    layers = [{"type": "dense", "units": 60_000}, {"type": "dense", "units": 8}, OUTPUT]
    of = random_network(layers, encoders_of(mixed()), members=2)
    weights_id = stored(database, of)
    database.write(lambda session: session.execute(delete(Chunk).where(Chunk.position > 0)))
    with database.reading() as session:
        architecture = read_architecture(session, weights_id)
        with pytest.raises(NotFoundError, match="damaged"):
            read_trained(session, weights_id)
    assert (list(architecture.layers), architecture.encoders) == (list(of.layers), of.encoders)
    assert architecture.members == 2


def test_a_header_longer_than_a_chunk_is_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header may cross the boundary of two chunks."""
    monkeypatch.setattr("worker.records.blobs.CHUNK_BYTES", 100)
    monkeypatch.setattr("worker.records.weights.CHUNK_BYTES", 100)
    of = network()
    weights_id = stored(database, of)
    with database.reading() as session:
        assert stored_shapes(session, weights_id) == {name: array.shape for name, array in of.arrays.items()}


def test_a_header_that_is_cut_off_is_damaged(database: Database) -> None:
    """Fewer bytes than the header's length are an error, not an empty network."""
    weights_id = stored(database, network())
    database.write(lambda session: session.execute(update(Chunk).values(content=(10**6).to_bytes(8, "little"))))
    with database.reading() as session, pytest.raises(NotFoundError, match="damaged"):
        stored_shapes(session, weights_id)


def test_a_member_alone_predicts_as_in_its_ensemble() -> None:
    """The mean of the members' own predictions is the ensemble's; a single network is its own only member."""
    of = network(3)
    x = np.random.default_rng(0).normal(size=(5, of.encoders.width)).astype(np.float32)
    alone = [Predictor(of.member(n)).outputs(x)[0] for n in range(3)]
    mean, spread = Predictor(of).outputs(x)
    np.testing.assert_allclose(mean, np.mean(alone, axis=0), rtol=1e-6)
    np.testing.assert_allclose(spread, np.std(alone, axis=0), rtol=1e-3, atol=1e-7)
    one = network()
    assert one.member(0).arrays.keys() == one.arrays.keys()
    assert of.member(1).members is None


def test_a_member_is_given_in_another_precision() -> None:
    """Its numbers are the same; the network it came from keeps its own."""
    of = network(2)
    member = of.member(1, np.float64)
    assert (member.parameters.flat.dtype, of.parameters.flat.dtype) == (np.float64, np.float32)
    assert np.array_equal(member.parameters.flat, of.parameters.flat[1])
    member.parameters.flat[...] = 0
    assert of.parameters.flat.any()


def test_arrays_that_are_not_the_networks_are_refused() -> None:
    """A missing array or another shape is an error when the value is built, not when it predicts."""
    of = network()
    name = next(iter(of.arrays))
    for arrays in (
        {other: array for other, array in of.arrays.items() if other != name},
        {**of.arrays, name: np.zeros((1, 1), np.float32)},
        {**of.arrays, "layers.99.w": np.zeros(1, np.float32)},
    ):
        with pytest.raises(ShapeError):
            Trained(of.layers, of.encoders, arrays)


def test_names_in_a_weights_file_are_read_as_they_are_made() -> None:
    """The number of members, and the layer of an array in a residual block within a member, are in the names."""
    names = network(11).parameters.named()
    assert count_members(names) == 11
    assert count_members(network().arrays) is None
    assert layer_number("members.10.layers.4.layers.2.mean") == 4
    assert {layer_number(name) for name in names} == {
        n for n, shapes in enumerate(network().parameters.shapes) if shapes
    }


def test_a_network_of_any_size_is_exported_in_parts(database: Database) -> None:
    """No part of the file is larger than a chunk with the header, and the file has the arrays and the encoders."""
    of = random_network([{"type": "dense", "units": 3000}, OUTPUT], encoders_of(mixed()), members=60)
    weights_id = stored(database, of)
    with database.reading() as session:
        origin, blob_id = read_origin(session, weights_id), find_weights(session, weights_id).blob_id
    parts = list(to_safetensors(origin, iterate_blob(database, blob_id)))
    assert len(parts) > 2
    assert max(map(len, parts)) < CHUNK_BYTES + 2**16
    back = from_safetensors(b"".join(parts), None, Limits(parameters=10**8))
    np.testing.assert_array_equal(back.parameters.flat, of.parameters.flat)
    assert back.encoders == of.encoders


def test_an_export_of_damaged_weights_ends_with_an_error(database: Database) -> None:
    """A missing or changed chunk is never taken for a whole file: the sending breaks off."""
    weights_id = stored(database, random_network([OUTPUT], encoders_of(mixed())))
    with database.reading() as session:
        blob_id = find_weights(session, weights_id).blob_id
    assert b"".join(iterate_blob(database, blob_id))
    database.write(lambda session: session.execute(update(Chunk).values(content=b"changed")))
    with pytest.raises(NotFoundError, match="damaged"):
        list(iterate_blob(database, blob_id))
    with pytest.raises(NotFoundError, match="damaged"):
        list(iterate_blob(database, "blb_0"))
