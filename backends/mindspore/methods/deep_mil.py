"""DeepMIL in MindSpore. The formulas are in `wvad_core.methods.deep_mil`."""
from __future__ import annotations

from mindspore import Tensor, ops
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
        self.dropout = Dropout(config.dropout)

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T), averaged over crops."""
        items, crops = one_crop_each(features)
        x = unit(items) if self.config.normalise else items
        x = self.dropout(ops.relu(self.fc1(x)))
        x = self.dropout(self.fc2(x))
        return ops.sigmoid(self.fc3(x)).reshape(-1, crops, items.shape[1]).mean(1)

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config, scores = self.config, gathered(self.construct(features))
        half, largest = scores.shape[0] // 2, top_mean(scores, 1)
        normal, abnormal, anomalous = largest[:half].expand_dims(1), largest[half:], scores[half:]
        norms = (ops.square(self.fc1.weight).sum() + ops.square(self.fc2.weight).sum()
                 + ops.square(self.fc3.weight).sum())
        terms = {"hinge": hinge(normal, abnormal, config.margin).sum() / half,
                 "smooth": config.smooth_weight * smoothness(anomalous).sum(),
                 "sparsity": config.sparsity_weight * anomalous.sum(),
                 "weights": config.norm_weight * norms}
        terms["total"] = terms["hinge"] + terms["smooth"] + terms["sparsity"] + terms["weights"]
        return terms
