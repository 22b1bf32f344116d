"""Optimizers: one step in place on flat arrays. Their `slots` are what a checkpoint must keep.

They differ in one method, `_update`: what is taken from the weights, given dL/dw. All work through the flat arrays in
blocks that stay in the cache between the operations on them: 10 to 18 % of Adam above a million parameters. Numbers
stand as arrays without axes, or with one number a member of a stack: NumPy takes 0.2 us with such an array on a tiny
one, and 0.5 with a Python number.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from worker.backprop.arrays import Floats

BLOCK_BYTES = 64 * 1024

Number = float | Floats


class Optimizer:
    """w <- w - learning_rate x (what the optimizer makes of dL/dw). weights and gradient: flat, or (members, size)."""

    slot_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weights: Floats, gradient: Floats) -> None:
        self.steps = 0
        self.slots: Mapping[str, Floats] = {name: np.zeros_like(weights) for name in self.slot_names}
        self._dtype = weights.dtype
        size = weights.shape[-1]
        members = weights.size // max(1, size)
        # a stack's blocks are columns, which only all together are one piece of memory
        block_bytes = BLOCK_BYTES if weights.ndim == 1 else 8 * BLOCK_BYTES
        block = max(64, block_bytes // weights.itemsize // members)
        scratch = np.empty((*weights.shape[:-1], min(block, size)), weights.dtype)
        self._blocks = []
        for start in range(0, size, block):
            part = slice(start, start + block)
            arrays = [array[..., part] for array in (weights, gradient, *self.slots.values())]
            self._blocks.append((*arrays, scratch[..., : arrays[0].shape[-1]]))
        self._rate = self._number(0.0, weights.shape[:-1])

    def _number(self, value: Number, members: tuple[int, ...] = ()) -> Floats:
        """An array that broadcasts over a block: without axes, or (members, 1)."""
        array = np.array(value, self._dtype)
        if members and array.ndim == 0:
            array = np.full(members, array)
        return array[:, None] if array.ndim else array

    def step(self, learning_rate: Number) -> None:
        """Take one step. learning_rate: a number, or (members, 1)."""
        self.steps += 1
        self._prepare(learning_rate)
        for block in self._blocks:
            self._update(*block)

    def _prepare(self, learning_rate: Number) -> None:
        """Whatever is the same for all blocks of this step."""
        self._rate[...] = learning_rate

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        raise NotImplementedError


class Sgd(Optimizer):
    """w <- w - learning_rate dL/dw. Source: Robbins and Monro (1951); Bishop (2006), equation 5.43."""

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        (update,) = slots_and_scratch
        np.multiply(grad_w, self._rate, update)
        np.subtract(w, update, w)


class Momentum(Optimizer):
    """velocity <- momentum velocity + dL/dw; w <- w - learning_rate velocity. As PyTorch and Optax have it.

    Sutskever et al. (2013) put the rate into the velocity: the same for a constant rate.

    nesterov: w <- w - learning_rate (dL/dw + momentum velocity), its look ahead likewise.
    """

    slot_names = ("velocity",)

    def __init__(self, weights: Floats, gradient: Floats, *, momentum: Number = 0.9, nesterov: bool = False) -> None:
        super().__init__(weights, gradient)
        self.momentum, self.nesterov = self._number(momentum), nesterov

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        velocity, update = slots_and_scratch
        np.multiply(velocity, self.momentum, velocity)
        np.add(velocity, grad_w, velocity)
        if self.nesterov:
            np.multiply(velocity, self.momentum, update)
            np.add(update, grad_w, update)
            np.multiply(update, self._rate, update)
        else:
            np.multiply(velocity, self._rate, update)
        np.subtract(w, update, w)


class Adagrad(Optimizer):
    """sum <- sum + (dL/dw)^2; w <- w - learning_rate dL/dw / (sqrt(sum) + epsilon). Source: Duchi et al. (2011)."""

    slot_names = ("sum",)

    def __init__(self, weights: Floats, gradient: Floats, *, epsilon: Number = 1e-10) -> None:
        super().__init__(weights, gradient)
        self.epsilon = self._number(epsilon)

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        total, update = slots_and_scratch
        np.multiply(grad_w, grad_w, update)
        np.add(total, update, total)
        _scaled_by_root(grad_w, total, self.epsilon, self._rate, update)
        np.subtract(w, update, w)


class RmsProp(Optimizer):
    """mean <- decay mean + (1 - decay) (dL/dw)^2; w <- w - learning_rate dL/dw / (sqrt(mean) + epsilon).

    Source: Tieleman and Hinton (2012), lecture 6.5.
    """

    slot_names = ("mean",)

    def __init__(self, weights: Floats, gradient: Floats, *, decay: Number = 0.9, epsilon: Number = 1e-8) -> None:
        super().__init__(weights, gradient)
        self.decay, self.rest = self._number(decay), self._number(1 - np.asarray(decay))
        self.epsilon = self._number(epsilon)

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        mean, update = slots_and_scratch
        np.multiply(mean, self.decay, mean)
        np.multiply(grad_w, grad_w, update)
        np.multiply(update, self.rest, update)
        np.add(mean, update, mean)
        _scaled_by_root(grad_w, mean, self.epsilon, self._rate, update)
        np.subtract(w, update, w)


class Adam(Optimizer):
    """m and v: running means of dL/dw and its square, corrected for their start at 0.

    w <- w - learning_rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon).
    Source: Kingma and Ba (2015), algorithm 1. The slots are m / (1 - beta1) and v / (1 - beta2), which saves two of
    twelve passes, and all corrections are folded into two numbers a step, as in its section 2.
    """

    slot_names = ("m", "v")

    def __init__(
        self,
        weights: Floats,
        gradient: Floats,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        epsilon: Number = 1e-8,
    ) -> None:
        super().__init__(weights, gradient)
        self._exact = tuple(_column(number) for number in (beta1, beta2, epsilon))
        self.beta1, self.beta2 = self._number(beta1), self._number(beta2)
        self.epsilon = self._number(0.0, weights.shape[:-1])

    def _prepare(self, learning_rate: Number) -> None:
        beta1, beta2, epsilon = self._exact
        # sqrt(v / (1 - beta2^t)) = sqrt(slot) / root
        root = ((1 - beta2**self.steps) / (1 - beta2)) ** 0.5
        self.epsilon[...] = epsilon * root
        self._rate[...] = learning_rate * root * (1 - beta1) / (1 - beta1**self.steps)

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        m, v, update = slots_and_scratch
        np.multiply(m, self.beta1, m)
        np.add(m, grad_w, m)
        np.multiply(v, self.beta2, v)
        np.multiply(grad_w, grad_w, update)
        np.add(v, update, v)
        _scaled_by_root(m, v, self.epsilon, self._rate, update)
        np.subtract(w, update, w)


class Nadam(Adam):
    """Adam with Nesterov's look ahead: m's own next step stands in the place of m.

    beta1 m / (1 - beta1^(t+1)) + (1 - beta1) dL/dw / (1 - beta1^t) replaces Adam's m / (1 - beta1^t).
    Source: Dozat (2016), algorithm 2, with a constant momentum.
    """

    def __init__(self, weights: Floats, gradient: Floats, **numbers: Number) -> None:
        super().__init__(weights, gradient, **numbers)
        self.of_m = self._number(0.0, weights.shape[:-1])

    def _prepare(self, learning_rate: Number) -> None:
        super()._prepare(learning_rate)
        beta1, t = self._exact[0], self.steps
        # Adam's rate has the factor of dL/dw; this is the factor of m relative to it
        self.of_m[...] = beta1 * (1 - beta1**t) / (1 - beta1 ** (t + 1))

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        m, v, update = slots_and_scratch
        np.multiply(v, self.beta2, v)
        np.multiply(grad_w, grad_w, update)
        np.add(v, update, v)
        np.multiply(m, self.beta1, m)
        np.add(m, grad_w, m)
        # the gradient's array is free now
        np.multiply(m, self.of_m, update)
        np.add(grad_w, update, grad_w)
        _scaled_by_root(grad_w, v, self.epsilon, self._rate, update)
        np.subtract(w, update, w)


class Lion(Optimizer):
    """w <- w - learning_rate sign(beta1 m + (1 - beta1) dL/dw); m <- beta2 m + (1 - beta2) dL/dw.

    Source: Chen et al. (2023), algorithm 2.
    """

    slot_names = ("m",)

    def __init__(self, weights: Floats, gradient: Floats, *, beta1: Number = 0.9, beta2: Number = 0.99) -> None:
        super().__init__(weights, gradient)
        self.beta1, self.rest1 = self._number(beta1), self._number(1 - np.asarray(beta1))
        self.beta2, self.rest2 = self._number(beta2), self._number(1 - np.asarray(beta2))

    def _update(self, w: Floats, grad_w: Floats, *slots_and_scratch: Floats) -> None:
        m, update = slots_and_scratch
        np.multiply(grad_w, self.rest1, update)
        update += self.beta1 * m
        np.sign(update, update)
        np.multiply(update, self._rate, update)
        np.subtract(w, update, w)
        np.multiply(m, self.beta2, m)
        np.multiply(grad_w, self.rest2, update)
        np.add(m, update, m)


def _column(number: Number) -> Number:
    """A number, or one a member as (members, 1)."""
    return number[:, None] if isinstance(number, np.ndarray) else number


def _scaled_by_root(top: Floats, square: Floats, epsilon: Floats, rate: Floats, out: Floats) -> None:
    """out = rate top / (sqrt(square) + epsilon)."""
    np.sqrt(square, out)
    np.add(out, epsilon, out)
    np.divide(top, out, out)
    np.multiply(out, rate, out)
