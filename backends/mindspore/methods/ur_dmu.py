"""UR-DMU in MindSpore. The formulas are in `wvad_core.methods.ur_dmu`."""
from __future__ import annotations

from mindspore import Tensor, nn, ops
from wvad_core.blocks.crops import one_crop_each
from wvad_core.methods.ur_dmu import Config

from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import binary_cross_entropy, hinge, top_cross_entropy, top_mean, triplet
from ..blocks.normalisation import unit
from ..blocks.random import Noise
from ..blocks.transformer import Transformer
from ..network import VideoNetwork
from ..parallel import gathered


class Memory(nn.Cell):
    """a = sigmoid(x M^T / sqrt(C)) and the augmentation a M. x (B, T, C) -> (B, T, S), (B, T, C)."""

    def __init__(self, slots: int, channels: int):
        super().__init__()
        self.slots = Linear(channels, slots, bias=False)
        self.product = ops.MatMul()

    def construct(self, x: Tensor) -> tuple[Tensor, Tensor]:
        weights = ops.sigmoid(self.slots(x) * x.shape[-1] ** -0.5)
        augmentation = self.product(weights.reshape(-1, weights.shape[-1]), self.slots.weight)
        return weights, augmentation.reshape(x.shape)


class Classifier(nn.Cell):
    """Logits of the scores, from the embedding and the codes, (B, T, C) each -> (B, T)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(2 * channels, hidden), Linear(hidden, 1)

    def construct(self, x: Tensor, codes: Tensor) -> Tensor:
        return self.fc2(ops.relu(self.fc1(ops.cat((x, codes), -1)))).squeeze(-1)


class Network(VideoNetwork):
    def build_layers(self, config: Config) -> None:
        channels = config.channels
        self.embedding = Conv1d(config.feature_dim, channels, 3)
        self.transformer = Transformer(channels, config.depth, config.heads, config.head_dim, config.feed_forward_dim,
                                       config.dropout)
        self.abnormal_memory = Memory(config.abnormal_memory, channels)
        self.normal_memory = Memory(config.normal_memory, channels)
        self.mean, self.log_variance, self.noise = Linear(channels, channels), Linear(channels, channels), Noise()
        self.classifier = Classifier(channels, config.hidden_dim)

    def embed(self, features: Tensor) -> Tensor:
        """Features (B, T, D) -> x (B, T, C)."""
        return self.transformer(ops.relu(self.embedding(features)))

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        x = self.embed(items)
        codes = self.mean(self.abnormal_memory(x)[1]) + self.mean(self.normal_memory(x)[1])
        return ops.sigmoid(self.classifier(x, codes)).reshape(-1, crops, items.shape[1]).mean(1)

    def outputs(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Logits of the scores, attentions A and N, (2B, T) each, and triplet, kl and distance, (B,) each, of (2B, T, D)."""
        config, half, k = self.config, features.shape[0] // 2, self.config.largest(features.shape[1])
        x = self.embed(features)
        a, abnormal_read = self.abnormal_memory(x)
        n, normal_read = self.normal_memory(x)
        a, n = top_mean(a, config.largest(config.abnormal_memory)), top_mean(n, config.largest(config.normal_memory))
        abnormal_codes, normal_codes = self.mean(abnormal_read), self.mean(normal_read)
        mean, log_variance = normal_codes[:half], self.log_variance(normal_read[:half])
        sampled = mean + self.noise(mean) * ops.exp(0.5 * log_variance)
        logits = self.classifier(x, abnormal_codes + ops.cat((sampled, normal_codes[half:])))
        anchor = mean_at_largest(x[:half], n[:half], k)
        positive, negative = mean_at_largest(x[half:], n[half:], k), mean_at_largest(x[half:], a[half:], k)
        normal_length = ops.norm(mean_at_largest(sampled, n[:half], k), dim=-1)
        abnormal_length = ops.norm(mean_at_largest(abnormal_codes[half:], a[half:], k), dim=-1)
        terms = {"triplet": triplet(unit(anchor), unit(positive), unit(negative), config.margin),
                 "kl": divergence(mean, log_variance),
                 "distance": hinge(normal_length, abnormal_length, config.distance_margin)}
        return logits, a, n, terms

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        config = self.config
        items, _ = one_crop_each(features)
        logits, a, n, terms = self.outputs(items)
        logits, a, n = gathered(logits), gathered(a), gathered(n)
        half, k = logits.shape[0] // 2, config.largest(items.shape[1])
        for name in ("triplet", "kl", "distance"):
            terms[name] = gathered(terms[name], 1).mean()
        labels = (ops.arange(2 * half) >= half).astype(logits.dtype)
        one, none = ops.ones_like(a[:half]), ops.zeros_like(a[:half])
        terms["att"] = top_cross_entropy(logits, labels, k).mean()
        terms["A"] = binary_cross_entropy(top_mean(a[half:], k), one[:, 0]).mean()
        terms["N_Aatt"] = binary_cross_entropy(top_mean(1 - n[half:], k), one[:, 0]).mean()
        terms["N"] = binary_cross_entropy(n[:half], one).mean()
        terms["A_N"] = binary_cross_entropy(a[:half], none).mean()
        terms["total"] = (terms["att"]
                          + config.attention_weight * (terms["A"] + terms["N_Aatt"] + terms["N"] + terms["A_N"])
                          + config.triplet_weight * terms["triplet"] + config.kl_weight * terms["kl"]
                          + config.distance_weight * terms["distance"])
        return terms


def mean_at_largest(x: Tensor, attention: Tensor, k: int) -> Tensor:
    """The mean of x over the k snippets of largest attention. x (B, T, C), attention (B, T) -> (B, C)."""
    _, places = ops.topk(attention, k)
    places = places.expand_dims(-1).broadcast_to((-1, -1, x.shape[-1]))
    return ops.gather_elements(x, 1, places).mean(1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """-1/2 sum_t (1 + v - mean^2 - exp(v)), averaged over channels. (B, T, C) each -> (B,)."""
    return (-0.5 * (1 + log_variance - ops.square(mean) - ops.exp(log_variance)).sum(1)).mean(1)
