"""Every name of the specification has its entry in the tables of the formats."""

from typing import get_args

import pytest

from worker.backprop import activations as backprop
from worker.networks import pytorch
from worker.networks.onnx import activations as onnx
from worker.specs.network import Activation, ResolvedActivation


@pytest.mark.parametrize("table", [onnx.ACTIVATIONS, pytorch.ACTIVATIONS, backprop.ACTIVATIONS])
def test_a_table_has_every_activation(table: dict[str, object]) -> None:
    """An activation that a table lacks would fail at the first export, so a table without it fails here."""
    assert set(table) == set(get_args(ResolvedActivation))


def test_only_a_poisson_loss_has_an_activation_of_its_own() -> None:
    """A client can ask for every other activation."""
    assert set(get_args(ResolvedActivation)) - set(get_args(Activation)) == {"exponential"}
