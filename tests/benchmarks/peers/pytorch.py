"""PyTorch, eager, with its fused Adam."""

import os
from collections.abc import Callable

import torch

from tests.benchmarks.workloads import RATE, Workload


def start(workload: Workload) -> Callable[[], int]:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    x, y = (torch.from_numpy(array) for array in workload.table())
    layers: list[torch.nn.Module] = []
    for inputs, units in zip(workload.sizes, workload.sizes[1:], strict=False):
        layers += [torch.nn.Linear(inputs, units), torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    if workload.loss == "binary":
        y = y.float()[:, None]
    losses = {"binary": torch.nn.BCEWithLogitsLoss, "softmax": torch.nn.CrossEntropyLoss, "squared": torch.nn.MSELoss}
    loss = losses[workload.loss]()
    optimizer = torch.optim.Adam(network.parameters(), RATE, fused=True)

    def epoch() -> int:
        order = torch.randperm(len(x))
        shuffled_x, shuffled_y = x[order], y[order]
        total = torch.zeros(())
        for start in range(0, len(x), workload.batch):
            batch = slice(start, start + workload.batch)
            optimizer.zero_grad()
            value = loss(network(shuffled_x[batch]), shuffled_y[batch])
            value.backward()
            optimizer.step()
            total += value.detach()
        float(total)
        return 1

    return epoch
