"""PEL4VAD in PyTorch. The formulas are in `wvad_core.methods.pel4vad`."""
from __future__ import annotations

import numpy as np

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.data.batches import Batch
from wvad_core.methods.pel4vad import SHARPNESS, Config, as_items, check_prompt, longest, up_to

from ..blocks.context_attention import ContextAttention, power_norm
from ..blocks.convolution import CausalConv1d, Conv1d
from ..blocks.normalisation import LayerNorm
from ..blocks.random import Dropout
from ..network import VideoNetwork
from ..parallel import gather, gathered


class Network(VideoNetwork):
    extras = ("labels", "true_lengths", "classes", "companions.prompts")

    def build_layers(self, config: Config) -> None:
        dim, hidden = config.feature_dim, config.hidden_dim
        self.attention, self.norm = ContextAttention(dim, config.attention_dim, config.window_size), LayerNorm(dim)
        self.conv1, self.conv2 = Conv1d(dim, hidden, 1), Conv1d(hidden, config.channels, 1)
        self.dropout1, self.dropout2 = Dropout(p=config.dropout), Dropout(p=config.dropout)
        self.classifier = CausalConv1d(config.channels, 1, config.kernel_size)
        self.logit_scale = nn.Parameter(torch.empty(()))

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores before they are smoothed: (B, T, D) or (B, N, T, D) -> (B, T)."""
        items, crops = one_crop_each(features)
        return torch.sigmoid(self.outputs(items)[1]).view(-1, crops, items.shape[1]).mean(1)

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h (B, T, D // 2) and the logits of the scores (B, T) of (B, T, D)."""
        y = self.attention(x)
        z = self.norm(x + self.attention.out(power_norm(y) if self.config.power_norm else y))
        h = self.dropout1(F.gelu(self.conv1(z)))
        e = self.dropout2(F.gelu(self.conv2(h)))
        return h, self.classifier(e).squeeze(-1).to(self.logit_scale.dtype)  # in bf16 all scores above 0.998 are 1

    def postprocess(self, scores: Tensor) -> Tensor:
        steps, window = scores.shape[0], self.config.smoothing_window
        if self.config.smoothing == "slide":
            padded = F.pad(scores, (0, window - 1))
            return sum(padded[i:i + steps] for i in range(window)) / window
        blocks = (steps + window - 1) // window
        sums = F.pad(scores, (0, blocks * window - steps)).view(blocks, window).sum(1)
        return (sums / window)[torch.arange(steps, device=scores.device) // window]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """As ever, of all crops as items, up to the end of the longest of all processes."""
        batch = as_items(batch, self.config)
        ends = gather(np.array([longest(batch)], np.float32))
        terms = super().losses(up_to(batch, int(max(map(np.max, ends)))))
        check_prompt(terms["mil"].item(), terms["prompt"].item())
        return terms

    def terms(self, features: Tensor, labels: Tensor, lengths: Tensor, places: Tensor, prompts: Tensor) -> dict[str, Tensor]:
        config, (h, logits) = self.config, self.outputs(features)
        both = [gathered(pooled(h, scores), 1) for scores in (torch.sigmoid(logits), torch.sigmoid(-logits))]
        logits, labels, lengths, places = (gathered(x, 1) for x in (logits, labels, lengths, places))
        counts = torch.minimum(labels * (lengths // config.k) + 1, lengths)
        most = min(logits.shape[1] // config.k + 1, logits.shape[1])
        places = (places if config.texts == "mean" else places[:, :1]) * labels[:, None]  # of normal items all 0
        terms = {"mil": top_cross_entropy(logits, labels, lengths, counts, most).mean(),
                 "prompt": prompt_loss(*both, labels, places, prompts, self.logit_scale.exp())}
        return {"total": terms["mil"] + config.prompt_weight * terms["prompt"]} | terms


def top_cross_entropy(logits: Tensor, labels: Tensor, lengths: Tensor, counts: Tensor, most: int) -> Tensor:
    """Cross entropy of the mean of the `counts` largest of the first `lengths` sigmoid(logits), (V, T) -> (V,).

    most: no count is higher.
    """
    places = torch.arange(logits.shape[1], device=logits.device)
    largest = logits.masked_fill(places >= lengths[:, None], -torch.inf).topk(most, dim=1).values
    others = places[:most] >= counts[:, None]
    log_p, log_rest = (F.logsigmoid(z.masked_fill(others, 0)).masked_fill(others, -torch.inf).logsumexp(1)
                       - counts.to(logits.dtype).log() for z in (largest, -largest))
    return -labels * log_p.clamp(min=-100) - (1 - labels) * log_rest.clamp(min=-100)


def pooled(h: Tensor, scores: Tensor) -> Tensor:
    """sum_t c_t h_t, c_t = (exp(10 s_t) - 1) / sum_t (exp(10 s_t) - 1). (V, T, C), (V, T) -> (V, C)."""
    c = torch.expm1(SHARPNESS * scores)
    return ((c / c.sum(1, keepdim=True))[:, None] @ h).squeeze(1)


def prompt_loss(foreground: Tensor, background: Tensor, labels: Tensor, places: Tensor, prompts: Tensor,
                scale: Tensor) -> Tensor:
    """The prompt term. places: (V, K), of each item's texts among the prompts, -1 for none.

    Behind the first rows of all items come second ones; those of normal items are left out.
    """
    there = torch.cat([torch.ones_like(labels), labels]) == 1
    features = torch.cat([foreground, background]).where(there[:, None], 1)
    shares = (places[..., None] == torch.arange(len(prompts), device=places.device)).sum(1).to(prompts.dtype)
    texts = shares / shares.sum(1, keepdim=True) @ prompts
    texts = torch.cat([texts, prompts[:1].expand_as(texts)])
    categories = torch.cat([places[:, 0], torch.zeros_like(labels)])
    cosines = features / features.norm(dim=1, keepdim=True) @ (texts / texts.norm(dim=1, keepdim=True)).t()
    same = (categories[:, None] == categories).to(scale.dtype)
    z, target = (values.masked_fill(~there, -1e30).log_softmax(1) for values in (scale * cosines, SHARPNESS * same))
    each = (target.exp() * (target - z)).sum(1)
    return each.where(there, 0).sum() / there.sum()
