"""Training steps in PyTorch."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import torch
from wvad_core.backend import in_graphs
from wvad_core.data.batches import Batch
from wvad_core.registry import memory_state, restore_memory
from wvad_core.training.recipes import Recipe

from . import parallel
from .blocks.normalisation import BatchNorm
from .blocks.random import Noise
from .isolation import isolated
from .network import VideoNetwork
from .precision import product_dtype

MOMENTS = ("moment1", "moment2")


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
        product_dtype(recipe.precision, next(network.parameters()).device)  # refuses what would be slow
        self.network, self.recipe, self.steps = network, recipe, 0
        self.parameters = network.trainable()
        self.groups = recipe.grouped(self.parameters)
        for module in network.modules():
            if isinstance(module, BatchNorm):
                module.synchronised = recipe.batch_norm == "synchronised"
        graphs = {name: torch.compile(getattr(network, name)) for name in network.graphs} if recipe.compile else {}
        self.losses = parallel.averaging(in_graphs(training_losses, graphs), network, self.parameters.values(),
                                         network.memory is not None)
        on_cpu = next(network.parameters()).device.type == "cpu"
        self.optimiser = torch.optim.Adam([{"params": [self.parameters[name] for name in names]} for names in self.groups],
                                          lr=recipe.learning_rate, betas=recipe.betas, weight_decay=recipe.weight_decay,
                                          fused=on_cpu or None)  # on CUDA PyTorch chooses

    def step(self, batch: Batch, deterministic: bool = False) -> dict[str, float]:
        """One optimiser step; gives the loss terms before it. With several processes, each takes its share of the batch."""
        self.steps += 1
        with isolated(self.network):
            terms = self._differentiated(batch, deterministic)
            if self.recipe.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.recipe.clip_norm)
            for group, rate in zip(self.optimiser.param_groups, self.recipe.rates(self.steps)):
                group["lr"] = rate or 0.0
                if rate is None:
                    for parameter in group["params"]:
                        parameter.grad = None
            self.optimiser.step()
        return {name: value.item() for name, value in terms.items()}

    def _differentiated(self, batch: Batch, deterministic: bool) -> dict[str, torch.Tensor]:
        """The loss terms; their total's gradients lie with the parameters."""
        tensors = list(self.parameters.values())
        with torch.autocast(tensors[0].device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            terms = self.losses(batch, deterministic)
        for parameter, gradient in zip(tensors, parallel.gradients(terms["total"], tensors)):
            parameter.grad = gradient.contiguous()  # the fused kernel takes its strides for the parameter's
        return terms

    def state(self) -> dict[str, np.ndarray]:
        """All but the weights that the next step depends on, as arrays by name; random numbers aside (see `reseed`)."""
        found = {"steps": np.array(self.steps)}
        for name, parameter in self.parameters.items():
            moments = self.optimiser.state.get(parameter)
            if moments:
                found |= {f"updates.{name}": np.array(int(moments["step"])),
                          f"moment1.{name}": moments["exp_avg"].cpu().numpy().copy(),
                          f"moment2.{name}": moments["exp_avg_sq"].cpu().numpy().copy()}
        return found | memory_state(self.network.memory)

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave."""
        self.steps = int(state["steps"])
        for name, parameter in self.parameters.items():
            if f"updates.{name}" in state:
                with torch.inference_mode(False):
                    first, second = (torch.tensor(state[f"{kind}.{name}"], device=parameter.device) for kind in MOMENTS)
                    step = torch.tensor(float(state[f"updates.{name}"]), dtype=torch.float32, device="cpu")
                self.optimiser.state[parameter] = {"step": step, "exp_avg": first, "exp_avg_sq": second}
        restore_memory(self.network.memory, state)

    def reseed(self, seed: int) -> None:
        """Begin dropout and noise anew from a seed."""
        self.network.reseed(seed)
