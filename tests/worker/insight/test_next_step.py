"""The optimizer's step, line by line: against the engine's own steps in float64, and against PyTorch's first."""

from typing import Any

import numpy as np
import pytest

from tests.worker.insight.conftest import addresses, dense, rows_for, subject_of
from tests.worker.insight.in_pytorch import Witness, torch_or_skip
from worker.backprop.optimizers import OPTIMIZERS as KINDS
from worker.backprop.updates import Updates
from worker.insight.address import Address
from worker.insight.chain_rule import chain_rule
from worker.insight.next_step import update_lines
from worker.insight.passes import Passes
from worker.networks.training import make_optimizer, make_plan

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"type": "sgd"},
    "sgd with decay": {"type": "sgd", "weight_decay": 0.3},
    "momentum": {"type": "sgd", "momentum": 0.8},
    "nesterov": {"type": "sgd", "momentum": 0.8, "nesterov": True},
    "adagrad": {"type": "adagrad"},
    "rmsprop": {"type": "rmsprop", "decay": 0.8},
    "adam": {"type": "adam", "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
    "adamw": {"type": "adamw", "weight_decay": 0.2},
    "nadam": {"type": "nadam", "beta1": 0.8},
    "lion": {"type": "lion", "weight_decay": 0.1},
}
RATE = 0.07


def test_every_optimizer_is_among_these() -> None:
    """An optimizer that is added has its lines compared here too."""
    assert {optimizer["type"] for optimizer in OPTIMIZERS.values()} == set(KINDS)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"l1": 0.1, "l2": 0.2},
        {"clip_value": 0.5},
        {"clip_norm": 1e6},
        {"l2": 0.1, "clip_norm": 0.4, "clip_value": 0.6},
    ],
)
def test_the_lines_end_where_the_engines_step_ends(name: str, steps: int, training: dict[str, Any]) -> None:
    """From zero moments or those of three steps, with penalties, clipping and decay, the last line is the new w."""
    subject = subject_of([dense(3)], optimizer=OPTIMIZERS[name], **training)
    plan, make = make_plan(subject.spec.training), make_optimizer(subject.spec.training.optimizer)
    parameters, gradients = subject.parameters, subject.parameters.like()
    updates = Updates(plan, make, parameters, gradients, [layer.penalised for layer in subject.network.layers])
    generator = np.random.default_rng(5)
    for _ in range(steps):
        gradients.flat[...] = generator.normal(size=gradients.flat.shape)
        updates.apply(1, RATE)
    gradient = generator.normal(size=gradients.flat.shape)
    slots = {slot: array.copy() for slot, array in updates.optimizer.slots.items()}
    w = parameters.flat.copy()
    gradients.flat[...] = gradient
    updates.apply(1, RATE)
    penalised = np.concatenate([np.full(array.size, array.ndim == 2) for array in parameters.named().values()])
    penalties = np.where(penalised, plan.l1 * np.sign(w) + plan.l2 * w, 0)
    clipped = gradient + penalties
    if plan.clip_value:
        clipped = np.clip(clipped, -plan.clip_value, plan.clip_value)
    for n in range(len(w)):
        optimizer = make(np.zeros(1), np.zeros(1))
        optimizer.steps = steps
        for slot, array in slots.items():
            optimizer.slots[slot][0] = array[n]
        lines = update_lines(
            optimizer,
            plan,
            RATE,
            w=float(w[n]),
            gradient=float(gradient[n]),
            penalty=float(penalties[n]),
            penalised=bool(penalised[n]),
            gradient_norm=float(np.linalg.norm(clipped)),
        )
        assert (lines[0].name, lines[-1].name) == ("g", "w")
        assert lines[-1].value == pytest.approx(parameters.flat[n], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("sgd", lambda torch, w: torch.optim.SGD(w, RATE)),
        ("momentum", lambda torch, w: torch.optim.SGD(w, RATE, momentum=0.8)),
        ("nesterov", lambda torch, w: torch.optim.SGD(w, RATE, momentum=0.8, nesterov=True)),
        ("adagrad", lambda torch, w: torch.optim.Adagrad(w, RATE)),
        ("rmsprop", lambda torch, w: torch.optim.RMSprop(w, RATE, alpha=0.8)),
        ("adam", lambda torch, w: torch.optim.Adam(w, RATE, betas=(0.8, 0.95), eps=1e-3)),
    ],
)
def test_a_first_step_is_pytorchs(name: str, build: Any) -> None:
    """Every weight of a small network moves on a real row as PyTorch's optimizer moves it."""
    torch = torch_or_skip()
    subject = subject_of([dense(3)], optimizer=OPTIMIZERS[name] | {"learning_rate": RATE})
    x, y = rows_for(subject, 1)
    witness = Witness(subject, x, y)
    step = build(torch, list(witness.arrays.values()))
    witness.loss.backward()
    step.step()
    for address, array, index in addresses(subject):
        found = chain_rule(subject, address, x, y)["weight"]["update"]
        assert found["new_value"] == pytest.approx(float(witness.arrays[array][index].detach()), rel=1e-10)
        assert found["state"] == {"of": "zero", "steps": 0}


def test_penalties_are_a_term_of_their_own_and_not_of_biases() -> None:
    """0.1 sign(w) + 0.2 w is shown beside dL/dw, which is the loss's alone; a bias has no penalty."""
    plain = subject_of([dense(3)])
    penalised = subject_of([dense(3)], l1=0.1, l2=0.2)
    x, y = rows_for(plain, 1)
    before, after = (chain_rule(subject, Address(0, 1, 2), x, y)["weight"] for subject in (plain, penalised))
    w = after["value"]
    assert after["gradient"] == before["gradient"] == pytest.approx(after["finite_difference"], rel=1e-6)
    assert after["penalty"] == {"l1": pytest.approx(0.1 * np.sign(w)), "l2": pytest.approx(0.2 * w),
                                "gradient": pytest.approx(0.1 * np.sign(w) + 0.2 * w)}  # fmt: skip
    assert after["total_gradient"] == pytest.approx(after["gradient"] + after["penalty"]["gradient"])
    bias = chain_rule(penalised, Address(0, "bias", 2), x, y)["weight"]
    assert (bias["penalty"]["gradient"], bias["total_gradient"]) == (0, bias["gradient"])


def test_clipping_measures_the_whole_networks_gradient() -> None:
    """The norm is that of PyTorch's gradients of every array, and the step is shortened by it."""
    subject = subject_of([dense(3), {"type": "layer_norm"}], clip_norm=0.01, optimizer={"type": "sgd"})
    x, y = rows_for(subject, 4)
    witness = Witness(subject, x, y)
    expected = np.sqrt(sum((g**2).sum() for g in witness.gradients(list(witness.arrays.values()))))
    found = chain_rule(subject, Address(0, 0, 0), x, y, [0, 1, 2, 3])["weight"]
    assert found["update"]["gradient_norm"] == pytest.approx(expected, rel=1e-10)
    moved = found["value"] - found["update"]["new_value"]
    assert moved == pytest.approx(0.01 * found["gradient"] * 0.01 / expected, rel=1e-9)


@pytest.mark.parametrize(
    "layers",
    [
        [{"type": "embedding", "column": "kind", "dimensions": 2}, dense(4, "identity"), {"type": "batch_norm"}],
        [{"type": "residual", "layers": [dense(5), {"type": "layer_norm"}, dense(3)]}],
    ],
)
def test_all_gradients_at_once_are_autograds(layers: list[Any]) -> None:
    """dL/dw of every array of a batch is PyTorch's."""
    subject = subject_of(layers)
    x, y = rows_for(subject)
    witness, gradients = Witness(subject, x, y), Passes(subject, x, y).gradients()
    expected = dict(zip(witness.arrays, witness.gradients(list(witness.arrays.values())), strict=True))
    for name, array in gradients.named().items():
        if not name.endswith(("mean", "variance")):
            np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-13)
