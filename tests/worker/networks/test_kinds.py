"""Every name of the specification has its entry in the tables of the formats."""

from typing import Any, get_args

import pytest

from tests.worker.networks.networks import EVERY_LAYER
from worker.backprop import activations as backprop
from worker.networks import pytorch
from worker.networks.onnx import activations as onnx
from worker.specs.network import Activation, EmbeddingLayer, Layer, ResolvedActivation


@pytest.mark.parametrize("table", [onnx.ACTIVATIONS, pytorch.ACTIVATIONS, backprop.ACTIVATIONS])
def test_a_table_has_every_activation(table: dict[str, object]) -> None:
    """An activation that a table lacks would fail at the first export, so a table without it fails here."""
    assert set(table) == set(get_args(ResolvedActivation))


def test_only_a_poisson_loss_has_an_activation_of_its_own() -> None:
    """A client can ask for every other activation."""
    assert set(get_args(ResolvedActivation)) - set(get_args(Activation)) == {"exponential"}


def test_every_kind_of_layer_is_exported_in_the_tests() -> None:
    """A kind that is not in EVERY_LAYER would be written by no test; embeddings need a column, and have their own."""
    union, _ = get_args(Layer)
    kinds = {
        get_args(kind.model_fields["type"].annotation)[0] for kind in get_args(union) if kind is not EmbeddingLayer
    }
    assert kinds == {layer["type"] for layer in with_inner(EVERY_LAYER)}


def with_inner(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the layers and the blocks' own layers."""
    return [one for layer in layers for one in (layer, *with_inner(layer.get("layers", [])))]
