"""DeepMIL in PyTorch. The formulas are in `wvad_core.methods.deep_mil`."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.deep_mil import Config

from ..blocks.linear import Linear
from ..blocks.losses import hinge, smoothness, top_mean
from ..blocks.normalisation import unit
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gathered


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
        self.fc1, self.fc2, self.fc3 = (Linear(*sizes) for sizes in config.sizes)
        self.dropout = Dropout(p=config.dropout)

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
        items, crops = one_crop_each(features)
        x = unit(items) if self.config.normalise else items
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(self.fc2(x))
        return torch.sigmoid(self.fc3(x)).view(-1, crops, items.shape[1]).mean(1)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config, scores = self.config, gathered(self.forward(features))
        half, largest = len(scores) // 2, top_mean(scores, 1)
        normal, abnormal, anomalous = largest[:half, None], largest[half:], scores[half:]
        norms = sum(layer.weight.square().sum() for layer in (self.fc1, self.fc2, self.fc3))
        terms = {"hinge": hinge(normal, abnormal, config.margin).sum() / half,
                 "smooth": config.smooth_weight * smoothness(anomalous).sum(),
                 "sparsity": config.sparsity_weight * anomalous.sum(),
                 "weights": config.norm_weight * norms}
        return {"total": terms["hinge"] + terms["smooth"] + terms["sparsity"] + terms["weights"]} | terms
