"""The engine that jobs use, by the classes that jobs use: shuffled, with its metrics and figures of the layers."""

from collections.abc import Callable
from itertools import pairwise

from tests.benchmarks.workloads import RATE, Workload
from worker.backprop.activations import ACTIVATIONS
from worker.backprop.batches import Part
from worker.backprop.fit import Training
from worker.backprop.initializers import INITIALIZERS
from worker.backprop.layers.dense import Dense
from worker.backprop.losses.classes import BinaryCrossEntropy, SoftmaxCrossEntropy
from worker.backprop.losses.numbers import MeanSquaredError
from worker.backprop.losses.objective import Objective
from worker.backprop.metrics import accuracy, r2
from worker.backprop.network import Network
from worker.backprop.optimizers import Adam
from worker.backprop.plan import Plan
from worker.backprop.schedules import Schedule

# a job of so many epochs; its layers' figures are taken in 256 of them, as in any job
EPOCHS = 1_000_000


def objective_of(workload: Workload) -> Objective:
    if workload.loss == "squared":
        return MeanSquaredError(ACTIVATIONS["identity"])
    return BinaryCrossEntropy() if workload.loss == "binary" else SoftmaxCrossEntropy()


def network_of(workload: Workload) -> Network:
    sizes = workload.sizes
    return Network(
        [
            Dense(
                inputs,
                units,
                ACTIVATIONS["relu" if n < len(sizes) - 2 else "identity"],
                INITIALIZERS["he_normal"],
            )
            for n, (inputs, units) in enumerate(pairwise(sizes))
        ]
    )


def training_of(workload: Workload, seeds: tuple[int, ...] | None = None) -> Training:
    x, y = workload.table()
    return Training(
        network_of(workload),
        objective_of(workload),
        Adam,
        Schedule(),
        Plan(EPOCHS, workload.batch, RATE, seeds=seeds, figures_every=EPOCHS // 256),
        train=Part.of(x, y),
        metrics={"r2": r2} if workload.loss == "squared" else {"accuracy": accuracy},
    )


def start(workload: Workload) -> Callable[[], int]:
    run = training_of(workload).run(lambda: False)

    def epoch() -> int:
        next(run)
        return 1

    return epoch
