"""What all networks of this backend share."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import torch
from torch import Tensor, nn
from wvad_core.blocks.configuration import Settings
from wvad_core.data.batches import Batch
from wvad_core.registry import classes_of, first_weights

from .blocks.normalisation import BatchNorm
from .parallel import processes


class SpecifiedNetwork(nn.Module):
    """Base of all networks: the layers of a configuration, and the values of their tensors.

    seed: of the fresh weights, those of the specification, the same in every backend.
    weights: {canonical name: array} in their place; copied.

    A model adds `build_layers(config)`, which makes its modules. While layers are built, tensors have shapes and no
    values; those of the state dict get theirs afterwards. So building takes no random numbers, and initialises nothing
    twice.
    """

    precision = torch.float32  # of the products in evaluation

    def __init__(self, config: Settings, seed: int = 0, *, weights: Mapping[str, np.ndarray] | None = None):
        super().__init__()
        self.config = config
        self.reseed(seed)
        with torch.device("meta"):
            self.build_layers(config)
        dtypes = {name: value.dtype for name, value in self.state_dict().items()}
        weights = first_weights(config, seed, weights)
        self.load_state_dict({name: torch.tensor(value, dtype=dtypes.get(name)) for name, value in weights.items()},
                             assign=True)

    def build_layers(self, config: Settings) -> None:
        raise NotImplementedError

    def reseed(self, seed: int) -> None:
        """Begin anew with what is random; nothing is, unless a model says so."""


class ClipNetwork(SpecifiedNetwork):
    """Base of the extractors' networks: `network(clips)` gives features, (B, C, F, H, W) -> (B, D)."""


class VideoNetwork(SpecifiedNetwork):
    """Base of the methods' networks: `network(features)` gives scores, `network.losses(batch)` the training terms.

    A method adds `terms(features, ...)`: the loss terms of (2B, T, D) or (2B, N, T, D), normal videos first, unless its
    configuration takes videos in any order (`Config.halves`). What it takes besides the features, `extras` names:
    attributes of the batch, and its companions as "companions.NAME".
    """

    extras: tuple[str, ...] = ()
    graphs: tuple[str, ...] = ("terms",)  # the methods of it that a recipe may have compiled
    memory = None  # what training remembers besides the weights, where that is anything
    varying = False  # whether a total may hang on some of the parameters only

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"total": ..., term: ...}, in the mode that the network is in."""
        batch, parameter = batch.normal_first() if self.config.halves else batch, next(self.parameters())
        features = torch.as_tensor(np.ascontiguousarray(batch.features)).to(parameter.device, parameter.dtype)
        return self.terms(features, *(self.extra(batch, name) for name in self.extras))

    def extra(self, batch: Batch, name: str) -> Tensor | None:
        """The attribute `name` of a batch as `terms` takes it, one row a video; None where the batch has none.

        "classes" are `Batch.class_indices`, (V, K). Real numbers come in the parameters' type. Raises InputError where
        the batch lacks a companion.
        """
        value, parameter = batch.named(name, len(classes_of(self.config))), next(self.parameters())
        if value is None:
            return None
        value = torch.tensor(value)  # a copy: companions cannot be written to
        return value.to(parameter.device, parameter.dtype if value.is_floating_point() else value.dtype)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def postprocess(self, scores: Tensor) -> Tensor:
        """What the specification's `postprocess` makes of a video's scores (T,), for exported graphs."""
        return scores

    def classify(self, features: Tensor) -> Tensor:
        """Class probabilities, as the scores: (B, T, D) or (B, N, T, D) -> (B, T, K); of methods that have classes."""
        raise NotImplementedError

    def score_and_classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and class probabilities; a method whose one pass gives both has a method of its own for it."""
        return self(features), self.classify(features)

    def trainable(self) -> dict[str, nn.Parameter]:
        """{canonical name: parameter} of all that is not frozen."""
        frozen = tuple(f"{name}." for name in self.config.frozen)
        return {name: p for name, p in self.named_parameters() if not name.startswith(frozen)}

    def train(self, mode: bool = True) -> VideoNetwork:
        """As ever; the BatchNorms of frozen modules stay in evaluation mode."""
        super().train(mode)
        for name in self.config.frozen:
            for module in self.get_submodule(name).modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self

    def reseed(self, seed: int) -> None:
        """Begin anew with dropout and noise, from a seed, which differs from process to process.

        They are drawn from this state where the library trains (see `isolation`), and natively from PyTorch's own.
        """
        self.seed, self.random_states = seed + processes()[0], {}

    def random_state(self, device: torch.device) -> Tensor:
        """That of a generator of the device, as PyTorch stores it."""
        if str(device) not in self.random_states:
            self.random_states[str(device)] = torch.Generator(device).manual_seed(self.seed).get_state()
        return self.random_states[str(device)]
