"""The vocabulary: strict, finite, printable, and with the documented defaults."""

import re
import unicodedata
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.conftest import SPEC
from worker.specs.base import PROSE, TEXT, Text
from worker.specs.job import Job

BAD: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    ({"name": "a\u202eb"}, ("name",)),
    ({"name": "a\u0000b"}, ("name",)),
    ({"name": ""}, ("name",)),
    ({"name": "x" * 201}, ("name",)),
    ({"name": "\u0344" * 150}, ("name",)),
    ({"tags": ["../x"]}, ("tags", 0)),
    ({"bogus": 1}, ("bogus",)),
    ({"training": {"epochs": True}}, ("training", "epochs")),
    ({"training": {"epochs": 10**12}}, ("training", "epochs")),
    ({"training": {"epochs": "5"}}, ("training", "epochs")),
    ({"training": {"l2": float("inf")}}, ("training", "l2")),
    ({"training": {"clip_norm": 1e-300}}, ("training", "clip_norm")),
    ({"training": {"seed": 2**63}}, ("training", "seed")),
    (
        {"training": {"optimizer": {"type": "adam", "learning_rate": -1}}},
        ("training", "optimizer", "adam", "learning_rate"),
    ),
    ({"training": {"validation": {"fraction": 1}}}, ("training", "validation", "fraction")),
    ({"network": {"layers": [{"type": "dense", "units": 0}]}}, ("network", "layers", 0, "dense", "units")),
    ({"network": {"layers": [{"type": "conv"}]}}, ("network", "layers", 0)),
    ({"network": {"layers": [{"type": "dropout", "rate": 1}]}}, ("network", "layers", 0, "dropout", "rate")),
    ({"dataset": {"source": "stored", "id": "../../etc/passwd"}}, ("dataset", "stored", "id")),
    ({"dataset": {"source": "url", "url": "http://x"}}, ("dataset",)),
]


@pytest.mark.parametrize(("changes", "place"), BAD)
def test_a_bad_member_is_refused_at_its_place(changes: dict[str, Any], place: tuple[Any, ...]) -> None:
    """A member that is not valid is refused with its place in the document."""
    with pytest.raises(ValidationError) as caught:
        Job.model_validate(SPEC | changes)
    assert place in [error["loc"] for error in caught.value.errors()]


def test_everything_but_dataset_target_and_layers_has_a_default() -> None:
    """Only the dataset, the target and the layers must be given; all else has a default."""
    job = Job.model_validate({"dataset": SPEC["dataset"], "target": "label", "network": {"layers": []}})
    training = job.training
    assert (job.name, job.tags, job.metadata, job.features) == ("unnamed", (), {}, None)
    assert (training.epochs, training.batch_size, training.optimizer.type) == (30, 32, "adam")
    assert (training.test, training.early_stopping, training.validation.fraction) == (None, None, 0.2)


def test_names_are_composed_so_that_twins_are_one() -> None:
    """Names are stored in Unicode's composed form, so that names that look alike are equal."""
    assert Job.model_validate(SPEC | {"name": "cafe\u0301"}).name == "caf\u00e9"


def test_a_specification_survives_its_json() -> None:
    """A specification that is written as JSON and read again is the same."""
    job = Job.model_validate(SPEC | {"metadata": {"deep": [1, {"x": None}]}, "tags": ["b", "a", "b"]})
    assert Job.model_validate_json(job.model_dump_json()) == job
    assert job.tags == ("b", "a")


def test_the_pattern_of_a_text_has_the_characters_that_a_text_may_have() -> None:
    """Up to U+FFFF the documented pattern agrees with the validator, except for characters that are not assigned."""
    pattern, text = re.compile(TEXT), TypeAdapter(Text)
    for letter in map(chr, range(0xFFFF)):
        if unicodedata.category(letter) in ("Cn", "Cs") or letter == "\n":
            continue
        if len(unicodedata.normalize("NFC", letter)) == 1:
            assert bool(pattern.search(letter)) == accepts(text, letter), hex(ord(letter))
    assert not re.compile(PROSE).search("a\rb")
    assert re.compile(PROSE).search("a\r\nb\nc")


def accepts(kind: TypeAdapter[str], value: str) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True
