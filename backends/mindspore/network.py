"""What all networks of this backend share."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mindspore import Parameter, Tensor, nn
from wvad_core.blocks.configuration import Settings
from wvad_core.data.batches import Batch
from wvad_core.registry import classes_of, first_weights

from .blocks.normalisation import BatchNorm
from .blocks.random import Random
from .parallel import processes


class SpecifiedNetwork(nn.Cell):
    """Base of all networks: the layers of a configuration, and the values of their tensors.

    seed: of the fresh weights, those of the specification, the same in every backend.
    weights: {canonical name: array} in their place; copied.

    A model adds `build_layers(config)`, which makes its cells. The parameters of the layers get their values afterwards.
    """

    def __init__(self, config: Settings, seed: int = 0, *, weights: Mapping[str, np.ndarray] | None = None):
        super().__init__()
        self.config = config
        self.build_layers(config)
        weights = first_weights(config, seed, weights)
        for name, parameter in self.parameters_and_names():
            parameter.set_data(Tensor(np.asarray(weights[name]), parameter.dtype))

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
    seed = 0
    any_length = False  # whether it is in the form for a graph of videos of any length

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"total": ..., term: ...}, in the mode that the network is in."""
        batch = batch.normal_first() if self.config.halves else batch
        features = Tensor(np.asarray(batch.features, np.float32))
        return self.terms(features, *[self.extra(batch, name) for name in self.extras])

    def extra(self, batch: Batch, name: str) -> Tensor | None:
        """The attribute `name` of a batch as `terms` takes it, one row a video; None where the batch has none.

        "classes" are `Batch.class_indices`, (V, K). Real numbers come in the parameters' type. Raises InputError where
        the batch lacks a companion.
        """
        value = batch.named(name, len(classes_of(self.config)))
        if value is None:
            return None
        value = np.asarray(value)
        return Tensor(value.astype(np.float32 if value.dtype.kind == "f" else np.int32))

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

    def trainable(self) -> dict[str, Parameter]:
        """{canonical name: parameter} of all that is not frozen."""
        frozen = tuple(f"{name}." for name in self.config.frozen)
        return {name: p for name, p in self.parameters_and_names()
                if p.requires_grad and not name.startswith(frozen)}

    def set_train(self, mode: bool = True) -> VideoNetwork:
        """As ever; the BatchNorms of frozen modules stay in evaluation mode."""
        super().set_train(mode)
        for name, cell in self.cells_and_names():
            if isinstance(cell, BatchNorm) and f"{name}.".startswith(tuple(f"{f}." for f in self.config.frozen)):
                cell.set_train(False)
        return self

    def reseed(self, seed: int) -> None:
        """Begin anew with dropout and noise, from a seed, which differs from process to process."""
        self.seed = seed
        for number, layer in enumerate(self.random_layers()):
            layer.reseed(seed + processes()[0], number)

    def random_layers(self) -> list[Random]:
        """Those of dropout and noise, in the order of the network."""
        return [cell for _, cell in self.cells_and_names() if isinstance(cell, Random)]
