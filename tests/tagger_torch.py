"""The small method of tagger.py in PyTorch."""
from __future__ import annotations

import torch
from tagger import Config
from torch import Tensor, nn
from wvad_torch.network import VideoNetwork
from wvad_torch.parallel import gathered


class Network(VideoNetwork):
    extras = ("labels", "true_lengths", "classes", "companions.prompts")

    def build_layers(self, config: Config) -> None:
        dim, count = config.feature_dim, len(config.categories)
        self.score, self.tags = nn.Parameter(torch.empty(dim)), nn.Parameter(torch.empty(count, dim))
        self.bias = nn.Parameter(torch.empty(count)) if config.biased else None

    def forward(self, features: Tensor) -> Tensor:
        if self.config.branch == "classes":
            return 1 - self.classify(features)[..., 0]
        return torch.sigmoid(features @ self.score + self.config.shift)

    def classify(self, features: Tensor) -> Tensor:
        return (features @ self.tags.T + (self.bias if self.bias is not None else 0)).softmax(-1)

    def score_and_classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.classify(features)
        return 1 - probabilities[..., 0] if self.config.branch == "classes" else self.forward(features), probabilities

    def terms(self, features: Tensor, labels: Tensor, lengths: Tensor, classes: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        within = torch.arange(features.shape[1], device=features.device) < lengths[:, None]
        video = gathered((self(features) * within).sum(1) / within.sum(1), 1)
        labels, first, tags = gathered(labels, 1), gathered(classes, 1)[:, 0], gathered(self.classify(features).mean(1), 1)
        mil = -torch.where(labels == 1, video.log(), (1 - video).log()).mean()
        tag = -tags.gather(1, first[:, None]).log().mean()
        distance = self.tags[first] - prompts[first]
        text = distance.square().sum(1).mean() if self.config.squared else distance.abs().sum(1).mean()
        return {"total": mil + tag + 0.1 * text, "mil": mil, "tag": tag, "text": text}
