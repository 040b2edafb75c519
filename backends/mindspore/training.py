"""Training in MindSpore: loss terms, gradients, and the update of parameters."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops
from wvad_core.backend import in_graphs
from wvad_core.data.batches import Batch
from wvad_core.errors import Failure, InputError
from wvad_core.training.optimisers import slots_of
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe

from . import parallel
from .blocks.normalisation import BatchNorm
from .blocks.random import Random
from .isolation import isolated
from .network import VideoNetwork

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


class TrainingSession:
    """As `wvad_core.backend.TrainingSession` has it."""

    def __init__(self, network: VideoNetwork, recipe: Recipe, options: Options):
        if REDUCED[options.precision] == ms.bfloat16 and ms.get_context("device_target") == "CPU":
            raise InputError(f"precision {options.precision!r}: MindSpore has no bfloat16 on the CPU, expected float32")
        self.network, self.recipe, self.options = network, recipe, options
        self.parameters = network.trainable()
        self.groups = recipe.grouped(self.parameters)
        self.gradients: dict[str, Tensor] = {}
        with isolated(network):
            self.kept = {name: [ms.Parameter(ops.zeros_like(p), name=f"{slot}.{name}") for slot in slots_of(recipe)]
                         for name, p in self.parameters.items()}
        for _, cell in network.cells_and_names():
            if isinstance(cell, BatchNorm):
                cell.synchronised = options.batch_norm == "synchronised"
        self.adam = ops.Adam()
        self._compile()

    def differentiate(self, batch: Batch, deterministic: bool = False) -> dict[str, Tensor]:
        with isolated(self.network):
            terms, gradients = self._differentiated(batch, deterministic)
            self.gradients = parallel.averaged(gradients)
        return terms

    def _differentiated(self, batch: Batch, deterministic: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        try:
            return in_graphs(losses_and_gradients, self.graphs)(self.network, batch, self.parameters, deterministic,
                                                                REDUCED[self.options.precision])
        except RuntimeError as error:
            if not self.options.compile:
                raise
            raise Failure(f"MindSpore {ms.__version__} does not compile this method's training step here; compile=false "
                          "trains without") from error

    def norm(self) -> float:
        with isolated(self.network):
            return np.sqrt(sum(float(ops.square(g).sum().asnumpy()) for g in self.gradients.values()))

    def scale(self, factor: float) -> None:
        with isolated(self.network):
            self.gradients = {name: g * factor for name, g in self.gradients.items()}

    def update(self, group: int, rate: float, count: int) -> None:
        with isolated(self.network):
            for name in self.groups[group]:
                self._move(self.parameters[name], self.gradients[name], self.kept[name], rate, count)

    def _move(self, parameter: ms.Parameter, gradient: Tensor, kept: list[ms.Parameter], rate: float, count: int) -> None:
        kind, decay = self.recipe.optimiser, self.recipe.weight_decay
        if kind == "adamw":
            ops.assign(parameter, parameter * (1 - rate * decay))
        else:
            gradient = gradient + decay * parameter
        if kind in ("adam", "adamw"):
            self._adam(parameter, gradient, kept, rate, count)
        elif kind == "adagrad":
            ops.assign(kept[0], kept[0] + ops.square(gradient))
            ops.assign(parameter, parameter - rate * gradient / (ops.sqrt(kept[0]) + self.recipe.eps))
        else:
            for velocity in kept:  # none without momentum
                gradient = ops.assign(velocity, self.recipe.momentum * velocity + gradient)
            ops.assign(parameter, parameter - rate * gradient)

    def _adam(self, parameter: ms.Parameter, gradient: Tensor, kept: list[ms.Parameter], rate: float, count: int) -> None:
        """MindSpore's kernel adds eps to the uncorrected root of v; scaling eps makes it Adam as published."""
        beta1, beta2 = self.recipe.betas
        power1, power2 = beta1**count, beta2**count
        scalars = [Tensor(value, ms.float32)
                   for value in (power1, power2, rate, beta1, beta2, self.recipe.eps * (1 - power2) ** 0.5)]
        self.adam(parameter, *kept, *scalars, gradient)

    def slots(self, name: str) -> list[np.ndarray]:
        with isolated(self.network):
            return [value.asnumpy().copy() for value in self.kept[name]]

    def restore(self, name: str, slots: Sequence[np.ndarray], count: int) -> None:
        """count: comes with each update."""
        with isolated(self.network):
            for kept, value in zip(self.kept[name], slots):
                kept.set_data(Tensor(value))

    def take(self, weights: Mapping[str, np.ndarray]) -> None:
        with isolated(self.network):
            for name, parameter in self.network.parameters_and_names():
                parameter.set_data(Tensor(np.array(weights[name])))

    def reseed(self, seed: int) -> None:
        self.network.reseed(seed)
        self._compile()

    def random_state(self) -> Any:
        """Of the layers that the host draws for, one after another; MindSpore's own kernels begin anew from the seed."""
        return [layer.rng.bit_generator.state for layer in self.network.random_layers()]

    def set_random_state(self, state: Any) -> None:
        generators = [np.random.default_rng(0) for _ in state]
        for rng, value in zip(generators, state):
            rng.bit_generator.state = value
        for layer, rng in zip(self.network.random_layers(), generators, strict=True):
            layer.rng = rng

    def _compile(self) -> None:
        """Have the network's graphs compiled when they are next called; in a graph a seed is a constant."""
        self.graphs = {name: ms.jit(getattr(self.network, name)) for name in self.network.graphs} if self.options.compile else {}
