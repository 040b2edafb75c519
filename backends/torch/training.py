"""Training in PyTorch: loss terms, gradients, and the update of parameters."""
from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import torch
from wvad_core.backend import in_graphs
from wvad_core.data.batches import Batch
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe

from . import parallel
from .blocks.normalisation import BatchNorm
from .blocks.random import Noise
from .isolation import isolated
from .network import VideoNetwork
from .precision import product_dtype

SLOTS = {"adam": ("exp_avg", "exp_avg_sq"), "adamw": ("exp_avg", "exp_avg_sq"), "adagrad": ("sum",),
         "sgd": ("momentum_buffer",)}
"""PyTorch's names of what its optimisers keep, in the order of `wvad_core.training.optimisers`."""


def training_losses(network: VideoNetwork, batch: Batch, deterministic: bool = False) -> dict[str, torch.Tensor]:
    """The loss terms in training mode; `deterministic` leaves the random layers out."""
    network.train()
    if deterministic:
        for module in network.modules():
            if isinstance(module, (torch.nn.Dropout, Noise)):
                module.eval()
    return network.losses(batch)


class TrainingSession:
    """As `wvad_core.backend.TrainingSession` has it. Gradients lie with the parameters."""

    def __init__(self, network: VideoNetwork, recipe: Recipe, options: Options):
        product_dtype(options.precision, next(network.parameters()).device)  # refuses what would be slow
        self.network, self.options, self.kept = network, options, SLOTS[recipe.optimiser]
        self.parameters = network.trainable()
        self.groups = recipe.grouped(self.parameters)
        for module in network.modules():
            if isinstance(module, BatchNorm):
                module.synchronised = options.batch_norm == "synchronised"
        graphs = {name: torch.compile(getattr(network, name)) for name in network.graphs} if options.compile else {}
        self.losses = parallel.averaging(in_graphs(training_losses, graphs), network, self.parameters.values(),
                                         network.varying)
        self.optimisers = [optimiser([self.parameters[name] for name in names], recipe) if names else None
                           for names in self.groups]
        self.owners = {name: owner for names, owner in zip(self.groups, self.optimisers) for name in names}

    def differentiate(self, batch: Batch, deterministic: bool = False) -> dict[str, torch.Tensor]:
        tensors = list(self.parameters.values())
        with isolated(self.network):
            with torch.autocast(tensors[0].device.type, torch.bfloat16, enabled=self.options.precision == "bf16"):
                terms = self.losses(batch, deterministic)
            for parameter, gradient in zip(tensors, parallel.gradients(terms["total"], tensors)):
                parameter.grad = gradient.contiguous()  # the fused kernel takes its strides for the parameter's
        return {name: value.detach() for name, value in terms.items()}

    def norm(self) -> float:
        return torch.nn.utils.get_total_norm([parameter.grad for parameter in self.parameters.values()]).item()

    def scale(self, factor: float) -> None:
        with torch.inference_mode(False):
            torch._foreach_mul_([parameter.grad for parameter in self.parameters.values()], factor)

    def update(self, group: int, rate: float, count: int) -> None:
        """count: is PyTorch's own."""
        self.optimisers[group].param_groups[0]["lr"] = rate
        with isolated(self.network):
            self.optimisers[group].step()

    def slots(self, name: str) -> list[np.ndarray]:
        state = self.owners[name].state[self.parameters[name]]
        return [state[key].cpu().numpy().copy() for key in self.kept if state.get(key) is not None]

    def restore(self, name: str, slots: Sequence[np.ndarray], count: int) -> None:
        parameter = self.parameters[name]
        with torch.inference_mode(False):
            kept = {key: torch.tensor(value, device=parameter.device) for key, value in zip(self.kept, slots)}
            step = torch.tensor(float(count), dtype=torch.float32, device="cpu")
        self.owners[name].state[parameter] = kept | {"step": step}

    def take(self, weights: Mapping[str, np.ndarray]) -> None:
        with torch.inference_mode(False), torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.copy_(torch.tensor(weights[name]))

    def reseed(self, seed: int) -> None:
        self.network.reseed(seed)

    def random_state(self) -> Any:
        """The seed, and the state of the generator of each device that has drawn, in hexadecimal digits."""
        states = {device: state.numpy().tobytes().hex() for device, state in self.network.random_states.items()}
        return {"seed": self.network.seed, "states": states}

    def set_random_state(self, state: Any) -> None:
        """For devices that are not there, nothing is drawn either."""
        found = {device: torch.frombuffer(bytearray.fromhex(digits), dtype=torch.uint8)
                 for device, digits in state["states"].items()}
        for device, value in found.items():
            torch.Generator(device).set_state(value)  # which refuses what is none
        self.network.seed, self.network.random_states = operator.index(state["seed"]), found


def optimiser(parameters: Sequence[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """PyTorch's own of a recipe's optimiser; its rate is set at each update. Its fastest on the CPU; on CUDA PyTorch chooses."""
    shared = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, momentum=recipe.momentum, **shared)
    if recipe.optimiser == "adagrad":
        return torch.optim.Adagrad(parameters, eps=recipe.eps, **shared)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimiser]
    fused = parameters[0].device.type == "cpu" or None
    return kind(parameters, betas=recipe.betas, eps=recipe.eps, fused=fused, **shared)
