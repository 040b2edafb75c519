"""Training steps in PyTorch."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wvad_core.data.batches import Batch
from wvad_core.methods import Recipe

from .layers import Noise
from .network import VideoNetwork


@contextmanager
def full_float32() -> Iterator[None]:
    """Without TensorFloat-32, which PyTorch allows convolutions on CUDA by default and which keeps 3 digits."""
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def training_losses(network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, torch.Tensor]:
    """The loss terms in training mode; `deterministic` leaves the random layers out."""
    network.train()
    if deterministic:
        for module in network.modules():
            if isinstance(module, (torch.nn.Dropout, Noise)):
                module.eval()
    return network.losses(batch)


class Trainer:
    """Adam with L2 weight decay, for each group of the recipe by its own rate; clips the gradient where the recipe does.

    Frozen parameters are left alone.
    """

    def __init__(self, network: VideoNetwork, recipe: Recipe):
        self.network, self.recipe, self.steps = network, recipe, 0
        self.parameters = network.trainable()
        names = recipe.grouped(self.parameters)
        self.optimiser = torch.optim.Adam([{"params": [self.parameters[name] for name in members]} for members in names],
                                          lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay)

    def step(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """One optimiser step; gives the loss terms before it."""
        self.steps += 1
        with full_float32():
            terms = training_losses(self.network, batch, deterministic)
            tensors = list(self.parameters.values())
            gradients = torch.autograd.grad(terms["total"], tensors, allow_unused=True, materialize_grads=True)
        for parameter, gradient in zip(tensors, gradients):
            parameter.grad = gradient
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(tensors, self.recipe.clip_norm)
        for group, rate in zip(self.optimiser.param_groups, self.recipe.rates(self.steps)):
            group["lr"] = rate or 0.0
            if rate is None:
                for parameter in group["params"]:
                    parameter.grad = None
        self.optimiser.step()
        return {name: value.item() for name, value in terms.items()}
