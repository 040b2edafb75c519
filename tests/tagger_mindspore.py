"""The small method of tagger.py in MindSpore."""
from __future__ import annotations

import mindspore as ms
from mindspore import Parameter, Tensor, ops
from tagger import Config
from wvad_mindspore.network import VideoNetwork
from wvad_mindspore.parallel import gathered


class Network(VideoNetwork):
    extras = ("labels", "true_lengths", "classes", "companions.prompts")

    def build_layers(self, config: Config) -> None:
        dim, count = config.feature_dim, len(config.categories)
        self.score = Parameter(ops.zeros((dim,), ms.float32), name="score")
        self.tags = Parameter(ops.zeros((count, dim), ms.float32), name="tags")
        self.bias = Parameter(ops.zeros((count,), ms.float32), name="bias") if config.biased else None

    def construct(self, features: Tensor) -> Tensor:
        if self.config.branch == "classes":
            return 1 - self.classify(features)[..., 0]
        return ops.sigmoid((features * self.score).sum(-1) + self.config.shift)

    def classify(self, features: Tensor) -> Tensor:
        logits = ops.matmul(features, self.tags.T)
        return ops.softmax(logits + self.bias if self.bias is not None else logits, -1)

    def score_and_classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = self.classify(features)
        return 1 - probabilities[..., 0] if self.config.branch == "classes" else self.construct(features), probabilities

    def terms(self, features: Tensor, labels: Tensor, lengths: Tensor, classes: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        within = (ops.arange(features.shape[1]) < lengths[:, None]).astype(ms.float32)
        video = gathered((self(features) * within).sum(1) / within.sum(1), 1)
        labels, first, tags = gathered(labels, 1), gathered(classes, 1)[:, 0], gathered(self.classify(features).mean(1), 1)
        abnormal = labels.astype(ms.float32)
        mil = -(abnormal * ops.log(video) + (1 - abnormal) * ops.log(1 - video)).mean()
        tag = -ops.log(ops.gather_elements(tags, 1, first[:, None])).mean()
        distance = ops.gather(self.tags, first, 0) - ops.gather(prompts, first, 0)
        text = ops.square(distance).sum(1).mean() if self.config.squared else ops.abs(distance).sum(1).mean()
        return {"total": mil + tag + 0.1 * text, "mil": mil, "tag": tag, "text": text}
