"""Training steps in PyTorch."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wvad_core.data.batches import Batch
from wvad_core.methods import Recipe

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
            if isinstance(module, torch.nn.Dropout):
                module.eval()
    return network.losses(batch)


class Trainer:
    """Adam with L2 weight decay and, where the recipe has it, the gradient norm clipped."""

    def __init__(self, network: VideoNetwork, recipe: Recipe):
        self.network, self.recipe = network, recipe
        self.optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate, betas=recipe.betas,
                                          weight_decay=recipe.weight_decay)

    def step(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """One optimiser step; gives the loss terms before it."""
        self.optimiser.zero_grad()
        with full_float32():
            terms = training_losses(self.network, batch, deterministic)
            terms["total"].backward()
        if self.recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.optimiser.step()
        return {name: value.item() for name, value in terms.items()}
