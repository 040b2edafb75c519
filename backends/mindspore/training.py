"""Training steps in MindSpore."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops
from wvad_core.backend import in_graphs
from wvad_core.data.batches import Batch
from wvad_core.errors import Failure, InputError
from wvad_core.registry import memory_state, restore_memory
from wvad_core.training.recipes import Recipe

from . import parallel
from .blocks.normalisation import BatchNorm
from .blocks.random import Random
from .isolation import isolated
from .network import VideoNetwork

MOMENTS = ("moment1", "moment2")
REDUCED = {"float32": None, "bf16": ms.bfloat16}
"""What products are computed in instead of float32. The CPU has no bfloat16."""


def training_losses(network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, Tensor]:
    """The loss terms in training mode; `deterministic` leaves the random layers out."""
    network.set_train()
    if deterministic:
        for _, cell in network.cells_and_names():
            if isinstance(cell, Random):
                cell.set_train(False)
    return network.losses(batch)


def losses_and_gradients(network: VideoNetwork, batch: Batch, named: dict[str, ms.Parameter],
                         deterministic: bool = False,
                         reduced: ms.Type | None = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The loss terms and the gradients of the total by the parameters `named`; products in a `reduced` type, or as they are."""
    names: list[str] = []

    def total_first() -> tuple[Tensor, ...]:
        terms = training_losses(network, batch, deterministic)
        names[:] = sorted(terms, key="total".__ne__)
        return tuple(terms[name] for name in names)

    if reduced is not None:
        total_first = ms.amp.auto_mixed_precision(total_first, "auto", reduced)
    values, gradients = ms.value_and_grad(total_first, None, list(named.values()), has_aux=True)()
    return dict(zip(names, values)), dict(zip(named, gradients))


class Trainer:
    """Adam with L2 weight decay, for each group of the recipe by its own rate; clips the gradient where the recipe does.

    Frozen parameters are left alone.
    """

    def __init__(self, network: VideoNetwork, recipe: Recipe):
        if REDUCED[recipe.precision] == ms.bfloat16 and ms.get_context("device_target") == "CPU":
            raise InputError(f"precision {recipe.precision!r}: MindSpore has no bfloat16 on the CPU, expected float32")
        self.network, self.recipe, self.steps = network, recipe, 0
        self.parameters = network.trainable()
        with isolated(network):
            self.moments = {name: [ms.Parameter(ops.zeros_like(p), name=f"{kind}.{name}") for kind in MOMENTS]
                            for name, p in self.parameters.items()}
        self.groups = recipe.grouped(self.parameters)
        for _, cell in network.cells_and_names():
            if isinstance(cell, BatchNorm):
                cell.synchronised = recipe.batch_norm == "synchronised"
        self.updates = [0] * len(self.groups)
        self.adam = ops.Adam()
        self._compile()

    def step(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """One optimiser step; gives the loss terms before it. With several processes, each takes its share of the batch."""
        with isolated(self.network):
            return self._step(batch, deterministic)

    def _step(self, batch: Batch, deterministic: bool) -> dict[str, float]:
        self.steps += 1
        terms, gradients = self._differentiated(batch, deterministic)
        gradients = parallel.averaged(gradients)
        if self.recipe.clip_norm is not None:
            norm = np.sqrt(sum(float(ops.square(g).sum().asnumpy()) for g in gradients.values()))
            scale = min(1.0, self.recipe.clip_norm / (norm + 1e-6))
            gradients = {name: g * scale for name, g in gradients.items()}
        for i, rate in enumerate(self.recipe.rates(self.steps)):
            if rate is not None:
                self.updates[i] += 1
                self._apply({name: gradients[name] for name in self.groups[i]}, rate, self.updates[i])
        return {name: float(value.asnumpy()) for name, value in terms.items()}

    def _differentiated(self, batch: Batch, deterministic: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        try:
            return in_graphs(losses_and_gradients, self.graphs)(self.network, batch, self.parameters, deterministic,
                                                                REDUCED[self.recipe.precision])
        except RuntimeError as error:
            if not self.recipe.compile:
                raise
            raise Failure(f"MindSpore {ms.__version__} does not compile this method's training step here; compile=false "
                          "trains without") from error

    def _apply(self, gradients: dict[str, Tensor], rate: float, update: int) -> None:
        """MindSpore's kernel adds eps to the uncorrected root of v; scaling eps makes it Adam as published."""
        beta1, beta2 = self.recipe.betas
        power1, power2 = beta1**update, beta2**update
        scalars = [Tensor(value, ms.float32)
                   for value in (power1, power2, rate, beta1, beta2, 1e-8 * (1 - power2) ** 0.5)]
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            self.adam(parameter, *self.moments[name], *scalars, gradient + self.recipe.weight_decay * parameter)

    def state(self) -> dict[str, np.ndarray]:
        """All but the weights that the next step depends on, as arrays by name; random numbers aside (see `reseed`)."""
        found = {"steps": np.array(self.steps)}
        for names, updates in zip(self.groups, self.updates):
            for name in names if updates else ():
                first, second = self.moments[name]
                found |= {f"updates.{name}": np.array(updates), f"moment1.{name}": first.asnumpy().copy(),
                          f"moment2.{name}": second.asnumpy().copy()}
        return found | memory_state(self.network.memory)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.steps = int(state["steps"])
        for i, names in enumerate(self.groups):
            for name in names:
                if f"updates.{name}" in state:
                    self.updates[i] = int(state[f"updates.{name}"])
                    for kind, moment in zip(MOMENTS, self.moments[name]):
                        moment.set_data(Tensor(state[f"{kind}.{name}"]))
        restore_memory(self.network.memory, state)

    def reseed(self, seed: int) -> None:
        """Begin dropout and noise anew from a seed."""
        self.network.reseed(seed)
        self._compile()

    def _compile(self) -> None:
        """Have the network's graphs compiled when they are next called; in a graph a seed is a constant."""
        self.graphs = {name: ms.jit(getattr(self.network, name)) for name in self.network.graphs} if self.recipe.compile else {}
