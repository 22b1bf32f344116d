"""JAX: an epoch is one compiled `lax.scan` over its batches, Adam written out. Whole batches only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.benchmarks.workloads import RATE, Workload


def start(workload: Workload) -> Callable[[], int]:
    x, y = (jnp.asarray(array) for array in workload.table())
    generator = np.random.default_rng(0)
    steps = workload.rows // workload.batch
    weights = [
        (jnp.asarray(generator.normal(0, (2 / a) ** 0.5, (a, b)), jnp.float32), jnp.zeros(b, jnp.float32))
        for a, b in zip(workload.sizes, workload.sizes[1:], strict=False)
    ]

    def loss(weights: Any, x: Any, y: Any) -> Any:
        for w, b in weights[:-1]:
            x = jax.nn.relu(x @ w + b)
        z = x @ weights[-1][0] + weights[-1][1]
        if workload.loss == "squared":
            return jnp.mean((z - y) ** 2)
        if workload.loss == "binary":
            return jnp.mean(jnp.logaddexp(0, z[:, 0]) - z[:, 0] * y)
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])

    def step(state: Any, rows: Any) -> Any:
        weights, m, v, t = state
        value, gradient = jax.value_and_grad(loss)(weights, x[rows], y[rows])
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        first, second = 1 - 0.9**t, 1 - 0.999**t
        weights = jax.tree.map(lambda w, m, v: w - RATE * (m / first) / (jnp.sqrt(v / second) + 1e-8), weights, m, v)
        return (weights, m, v, t), value

    @jax.jit
    def scan(state: Any, order: Any) -> Any:
        state, values = jax.lax.scan(step, state, order)
        return state, values.mean()

    zeros = jax.tree.map(jnp.zeros_like, weights)
    held = {"state": (weights, zeros, zeros, jnp.zeros((), jnp.float32))}

    def epoch() -> int:
        order = generator.permutation(workload.rows)[: steps * workload.batch].astype(np.int32)
        held["state"], value = scan(held["state"], order.reshape(steps, workload.batch))
        float(value)
        return 1

    return epoch
