"""Training steps in MindSpore."""
from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from wvad_core.data.batches import Batch
from wvad_core.methods import Recipe

from .layers import Noise
from .network import VideoNetwork


def training_losses(network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, Tensor]:
    """The loss terms in training mode; `deterministic` leaves the random layers out."""
    network.set_train()
    if deterministic:
        for _, cell in network.cells_and_names():
            if isinstance(cell, (nn.Dropout, Noise)):
                cell.set_train(False)
    return network.losses(batch)


def losses_and_gradients(network: VideoNetwork, batch: Batch, named: dict[str, ms.Parameter],
                         deterministic: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The loss terms and the gradients of the total by the parameters `named`."""
    names: list[str] = []

    def total_first() -> tuple[Tensor, ...]:
        terms = training_losses(network, batch, deterministic)
        names[:] = sorted(terms, key="total".__ne__)
        return tuple(terms[name] for name in names)

    values, gradients = ms.value_and_grad(total_first, None, list(named.values()), has_aux=True)()
    return dict(zip(names, values)), dict(zip(named, gradients))


class Trainer:
    """Adam with L2 weight decay, for each group of the recipe by its own rate; clips the gradient where the recipe does.

    Frozen parameters are left alone.
    """

    def __init__(self, network: VideoNetwork, recipe: Recipe):
        self.network, self.recipe, self.steps = network, recipe, 0
        self.parameters = network.trainable()
        self.moments = {name: [ms.Parameter(ops.zeros_like(p), name=f"{kind}.{name}") for kind in ("moment1", "moment2")]
                        for name, p in self.parameters.items()}
        self.groups = recipe.grouped(self.parameters)
        self.updates = [0] * len(self.groups)
        self.adam = ops.Adam()

    def step(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """One optimiser step; gives the loss terms before it."""
        self.steps += 1
        terms, gradients = losses_and_gradients(self.network, batch, self.parameters, deterministic)
        if self.recipe.clip_norm is not None:
            norm = np.sqrt(sum(float(ops.square(g).sum().asnumpy()) for g in gradients.values()))
            scale = min(1.0, self.recipe.clip_norm / (norm + 1e-6))
            gradients = {name: g * scale for name, g in gradients.items()}
        for i, rate in enumerate(self.recipe.rates(self.steps)):
            if rate is not None:
                self.updates[i] += 1
                self._apply({name: gradients[name] for name in self.groups[i]}, rate, self.updates[i])
        return {name: float(value.asnumpy()) for name, value in terms.items()}

    def _apply(self, gradients: dict[str, Tensor], rate: float, update: int) -> None:
        """MindSpore's kernel adds eps to the uncorrected root of v; scaling eps makes it Adam as published."""
        beta1, beta2 = self.recipe.betas
        power1, power2 = beta1**update, beta2**update
        scalars = [Tensor(value, ms.float32)
                   for value in (power1, power2, rate, beta1, beta2, 1e-8 * (1 - power2) ** 0.5)]
        for name, gradient in gradients.items():
            parameter = self.parameters[name]
            self.adam(parameter, *self.moments[name], *scalars, gradient + self.recipe.weight_decay * parameter)
