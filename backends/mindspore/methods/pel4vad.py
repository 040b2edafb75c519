"""PEL4VAD in MindSpore. The formulas are in `wvad_core.methods.pel4vad`."""
from __future__ import annotations

import numpy as np

from mindspore import Tensor, ops
from wvad_core.blocks.crops import one_crop_each
from wvad_core.data.batches import Batch
from wvad_core.methods.pel4vad import SHARPNESS, Config, as_items, check_prompt, longest, up_to

from ..blocks.activations import gelu
from ..blocks.context_attention import ContextAttention, power_norm
from ..blocks.convolution import CausalConv1d, Conv1d
from ..blocks.losses import LARGE, log_sigmoid
from ..blocks.normalisation import LayerNorm
from ..blocks.parameters import zeros
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gather, gathered


class Network(VideoNetwork):
    extras = ("labels", "true_lengths", "classes", "companions.prompts")

    def build_layers(self, config: Config) -> None:
        dim, hidden = config.feature_dim, config.hidden_dim
        self.attention, self.norm = ContextAttention(dim, config.attention_dim, config.window_size), LayerNorm(dim)
        self.conv1, self.conv2 = Conv1d(dim, hidden, 1), Conv1d(hidden, config.channels, 1)
        self.dropout1, self.dropout2 = Dropout(config.dropout), Dropout(config.dropout)
        self.classifier = CausalConv1d(config.channels, 1, config.kernel_size)
        self.logit_scale = zeros()

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores before they are smoothed: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        return ops.sigmoid(self.outputs(items)[1]).reshape(-1, crops, items.shape[1]).mean(1)

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h (B, T, D // 2) and the logits of the scores (B, T) of (B, T, D)."""
        y = self.attention(x)
        z = self.norm(x + self.attention.out(power_norm(y) if self.config.power_norm else y))
        h = self.dropout1(gelu(self.conv1(z)))
        e, exact = self.dropout2(gelu(self.conv2(h))), self.logit_scale.dtype
        return h.astype(exact), self.classifier(e).squeeze(-1).astype(exact)

    def postprocess(self, scores: Tensor) -> Tensor:
        steps, window = scores.shape[0], self.config.smoothing_window
        padded = ops.cat((scores, ops.zeros((window,), scores.dtype)))
        if self.config.smoothing == "slide":
            smoothed = padded[:steps]
            for i in range(1, window):
                smoothed = smoothed + padded[i:i + steps]
            return smoothed / window
        blocks = (steps + window - 1) // window
        sums = padded[:blocks * window].reshape(blocks, window).sum(1, keepdims=True)
        return ops.tile(sums / window, (1, window)).reshape(-1)[:steps]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """As ever, of all crops as items, up to the end of the longest of all processes."""
        batch = as_items(batch, self.config)
        ends = gather(np.array([longest(batch)], np.float32))
        terms = super().losses(up_to(batch, int(max(map(np.max, ends)))))
        check_prompt(*[float(ops.stop_gradient(terms[name]).asnumpy()) for name in ("mil", "prompt")])
        return terms

    def terms(self, features: Tensor, labels: Tensor, lengths: Tensor, places: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        config = self.config
        h, logits = self.outputs(features)
        foreground = gathered(pooled(h, ops.sigmoid(logits)), 1)
        background = gathered(pooled(h, ops.sigmoid(-logits)), 1)
        logits, labels = gathered(logits, 1), gathered(labels, 1)
        lengths, places = gathered(lengths, 1), gathered(places, 1)
        counts = ops.minimum(labels * (lengths // config.k) + 1, lengths)
        most = min(logits.shape[1] // config.k + 1, logits.shape[1])
        places = places if config.texts == "mean" else places[:, :1]
        places = places * labels.reshape(-1, 1)  # of normal items all 0
        terms = {"mil": top_cross_entropy(logits, labels, lengths, counts, most).mean(),
                 "prompt": prompt_loss(foreground, background, labels, places, prompts, ops.exp(self.logit_scale))}
        terms["total"] = terms["mil"] + config.prompt_weight * terms["prompt"]
        return terms


def top_cross_entropy(logits: Tensor, labels: Tensor, lengths: Tensor, counts: Tensor, most: int) -> Tensor:
    """Cross entropy of the mean of the `counts` largest of the first `lengths` sigmoid(logits), (V, T) -> (V,).

    most: no count is higher.
    """
    places = ops.arange(logits.shape[1]).reshape(1, -1)
    largest, _ = ops.topk(ops.where(places < lengths.reshape(-1, 1), logits, -LARGE), most)
    picked, counts = places[:, :most] < counts.reshape(-1, 1), counts.astype(logits.dtype)
    log_p, log_rest = [ops.logsumexp(ops.where(picked, log_sigmoid(ops.where(picked, z, 0.0)), -LARGE), 1)
                       - ops.log(counts) for z in (largest, -largest)]
    labels = labels.astype(logits.dtype)
    return -labels * ops.maximum(log_p, -100.0) - (1 - labels) * ops.maximum(log_rest, -100.0)


def pooled(h: Tensor, scores: Tensor) -> Tensor:
    """sum_t c_t h_t, c_t = (exp(10 s_t) - 1) / sum_t (exp(10 s_t) - 1). (V, T, C), (V, T) -> (V, C)."""
    c = ops.expm1(SHARPNESS * scores)
    return ops.bmm((c / c.sum(1, keepdims=True)).expand_dims(1), h).squeeze(1)


def prompt_loss(foreground: Tensor, background: Tensor, labels: Tensor, places: Tensor, prompts: Tensor,
                scale: Tensor) -> Tensor:
    """The prompt term. places: (V, K), of each item's texts among the prompts, -1 for none.

    Behind the first rows of all items come second ones; those of normal items are left out.
    """
    there = ops.cat((ops.ones_like(labels), labels)) == 1
    features = ops.where(there.reshape(-1, 1), ops.cat((foreground, background)), 1.0)
    shares = (places.expand_dims(-1) == ops.arange(prompts.shape[0])).astype(prompts.dtype).sum(1)
    texts = ops.matmul(shares / shares.sum(1, keepdims=True), prompts)
    texts = ops.cat((texts, ops.tile(prompts[:1], (labels.shape[0], 1))))
    categories = ops.cat((places[:, 0], ops.zeros_like(labels)))
    features, texts = features / ops.norm(features, dim=1, keepdim=True), texts / ops.norm(texts, dim=1, keepdim=True)
    cosines = ops.matmul(features, texts.swapaxes(0, 1)).astype(scale.dtype)
    same = (categories.reshape(-1, 1) == categories.reshape(1, -1)).astype(scale.dtype)
    z, target = [ops.where(there.reshape(1, -1), values, -LARGE) for values in (scale * cosines, SHARPNESS * same)]
    z, target = z - ops.logsumexp(z, 1, True), target - ops.logsumexp(target, 1, True)  # its log_softmax errs by 3e-6
    each = (ops.exp(target) * (target - z)).sum(1)
    return ops.where(there, each, 0.0).sum() / there.astype(each.dtype).sum()
