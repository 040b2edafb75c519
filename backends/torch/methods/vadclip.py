"""VadCLIP in PyTorch. The formulas are in `wvad_core.methods.vadclip`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.attention import DECAY
from wvad_core.blocks.remembered import Remembered
from wvad_core.methods.vadclip import (
    CHUNKS,
    TEMPERATURE,
    THRESHOLD,
    TOP,
    Config,
    batch_classes,
    check_trainable,
    prompt_layout,
)
from wvad_core.tokenizer import CONTEXT

from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import top_cross_entropy_within, top_mean_within
from ..blocks.normalisation import LayerNorm
from ..blocks.activations import quick_gelu
from ..blocks.residual_attention import FeedForward, ResidualBlocks
from ..network import VideoNetwork
from ..parallel import gathered


class GraphConvolution(nn.Module):
    """M (x W) + R(x), R a convolution of 5 snippets where the width changes, and x itself where not."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.residual = Conv1d(inputs, outputs, 5) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        outputs = (x @ self.weight).to(graph.dtype)
        with torch.autocast(x.device.type, enabled=False):  # rounded to bfloat16, weights would not sum to what they do
            outputs = graph @ outputs
        return outputs + self.residual(x)


class TextEncoder(nn.Module):
    """CLIP's text encoder, of learned rows with the classes' words in them. Frozen."""

    def __init__(self, config: Config):
        super().__init__()
        width, (layout, ends) = config.text_width, prompt_layout(config)
        self.layout, self.ends = layout.tolist(), ends.tolist()
        self.token_embedding = nn.Embedding(config.vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.empty(CONTEXT, width))
        self.transformer = ResidualBlocks(width, config.text_depth, config.text_heads, causal=True)
        self.ln_final = LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(width, config.feature_dim))
        self.requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        """Learned rows (77, W) -> t (C, D)."""
        layout, rows = torch.tensor(self.layout, device=rows.device), rows[:len(self.layout[0])]
        x = torch.where((layout >= 0)[..., None], self.token_embedding(layout.clamp(min=0)), rows)
        x = self.transformer(x + self.positional_embedding[:layout.shape[1]])
        ends = torch.tensor(self.ends, device=rows.device)
        return self.ln_final(x[torch.arange(len(self.ends), device=rows.device), ends]) @ self.text_projection

    def used(self) -> list[Tensor]:
        """All that the features hang on besides the learned rows: of the vocabulary the classes' words."""
        layout = torch.tensor(self.layout, device=self.positional_embedding.device).clamp(min=0)
        others = [value for name, value in self.named_parameters() if not name.startswith("token_embedding")]
        return [self.token_embedding(layout), *others]


class Network(VideoNetwork):
    extras = ("labels", "true_lengths", "classes")

    def build_layers(self, config: Config) -> None:
        channels, half = config.feature_dim, config.feature_dim // 2
        self.frame_position_embeddings = nn.Embedding(config.max_length, channels)
        self.temporal = ResidualBlocks(channels, config.depth, config.heads)
        self.gc1, self.gc2 = GraphConvolution(channels, half), GraphConvolution(half, half)
        self.gc3, self.gc4 = GraphConvolution(channels, half), GraphConvolution(half, half)
        self.linear, self.classifier = Linear(channels, channels), Linear(channels, 1)
        self.mlp1, self.mlp2 = FeedForward(channels), FeedForward(channels)
        if config.text == "features":
            self.text_features = nn.Parameter(torch.empty(len(config.classes), channels))
        else:
            self.text_prompt_embeddings = nn.Embedding(CONTEXT, config.text_width)
            self.clipmodel, self.remembered = TextEncoder(config), Remembered()

    def forward(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D), or of crop `test_crop` of (B, N, T, D) -> (B, T)."""
        return self.scores(self.evaluated(features, self.texts() if self.config.score_branch == "alignment" else None))

    def classify(self, features: Tensor) -> Tensor:
        """Class probabilities: (B, T, D), or of crop `test_crop` of (B, N, T, D) -> (B, T, C)."""
        return self.evaluated(features, self.texts())[1]

    def score_and_classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        found = self.evaluated(features, self.texts())
        return self.scores(found), found[1]

    def scores(self, found: tuple[Tensor, ...]) -> Tensor:
        """Of what `evaluated` gave those of the branch that is scored. The alignment's are 1 - P(normal), without its cancellation."""
        return torch.sigmoid(found[0]) if self.config.score_branch == "classifier" else found[1][..., 1:].sum(-1)

    def evaluated(self, features: Tensor, texts: Tensor | None) -> tuple[Tensor, ...]:
        """The classifier's logits (B, T) and, with texts alone, class probabilities (B, T, C), of the crop that is scored."""
        videos = self.scored(features) if features.dim() == 4 else features
        chunks, lengths = self.in_chunks(videos, torch.full_like(videos[:, 0, 0], videos.shape[1], dtype=torch.int64))
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            found = self.of_chunks(chunks, lengths, texts)
        else:  # some chunks at a time, so that memory does not grow with a video
            parts = [self.of_chunks(*part, texts) for part in zip(chunks.split(CHUNKS), lengths.split(CHUNKS))]
            found = tuple(torch.cat(part) for part in zip(*parts))
        return tuple(end_to_end(values, videos) for values in found)

    def of_chunks(self, chunks: Tensor, lengths: Tensor, texts: Tensor | None) -> tuple[Tensor, ...]:
        """Logits (B, L) and, with texts alone, class probabilities (B, L, C) of chunks (B, L, D)."""
        v = self.visual(chunks, lengths)
        logits = self.classifier_logits(v)
        return (logits,) if texts is None else (logits, self.class_logits(v, logits, texts).softmax(-1))

    def scored(self, features: Tensor) -> Tensor:
        """The crop that is scored, (B, N, T, D) -> (B, T, D). An exported graph takes any number of crops."""
        if not torch.compiler.is_exporting():
            return features[:, self.config.scored_crop(features.shape[1])]
        count = torch.ones_like(features[0, :, 0, 0], dtype=torch.int64).sum()
        return features.index_select(1, ((count - 1).clamp(max=1) * self.config.test_crop)[None])[:, 0]

    def in_chunks(self, videos: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Videos (B, T, D) in chunks (B K, L, D), and how many snippets of each are a video's, (B K,)."""
        steps, size = videos.shape[1], self.config.max_length
        # of a single chunk PyTorch would make a graph for videos of a single chunk: it gets an empty one more
        count = (steps + size * (2 if torch.compiler.is_exporting() else 1) - 1) // size
        padded = F.pad(videos, (0, 0, 0, count * size - steps))
        within = (lengths[:, None] - size * torch.arange(count, device=videos.device)).clamp(0, size)
        return padded.reshape(-1, size, videos.shape[2]), within.flatten()

    def visual(self, chunks: Tensor, lengths: Tensor) -> Tensor:
        """v of chunks (B, L, D), of which so many snippets are a video's, (B,): (B, L, D)."""
        x = chunks + self.frame_position_embeddings.weight
        x = self.temporal(x.reshape(-1, self.config.attention_window, x.shape[2])).reshape(x.shape)
        near, far = similarities(x, lengths), _distances(x)
        x1 = quick_gelu(self.gc2(quick_gelu(self.gc1(x, near)), near))
        x2 = quick_gelu(self.gc4(quick_gelu(self.gc3(x, far)), far))
        return self.linear(torch.cat([x1, x2], -1)).to(self.linear.weight.dtype)

    def classifier_logits(self, v: Tensor) -> Tensor:
        """(B, L, D) -> (B, L), by products that are not rounded to bfloat16, as those of the classes'."""
        hidden = v + self.mlp2(v)
        with torch.autocast(v.device.type, enabled=False):
            return self.classifier(hidden)[..., 0]

    def class_logits(self, v: Tensor, logits: Tensor, texts: Tensor) -> Tensor:
        """v (B, L, D), the classifier's logits (B, L), t (C, D) -> (B, L, C)."""
        u = texts + unit((logits[:, None] @ v)[:, 0].to(v.dtype))[:, None]
        u = u + self.mlp1(u)
        with torch.autocast(v.device.type, enabled=False):
            return unit(v) @ unit(u).transpose(1, 2) / TEMPERATURE

    def texts(self) -> Tensor:
        """t, (C, D), in float32 at least; without gradients it is computed once for the same weights."""
        if self.config.text == "features":
            return self.text_features
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.encoded()
        rows = self.text_prompt_embeddings.weight
        return self.remembered.value([rows, *self.clipmodel.used()], _same, torch.clone, self.encoded)

    def encoded(self) -> Tensor:
        rows = self.text_prompt_embeddings.weight
        with torch.autocast(rows.device.type, enabled=False):
            return self.clipmodel(rows)

    def terms(self, features: Tensor, labels: Tensor, lengths: Tensor, classes: Tensor | None) -> dict[str, Tensor]:
        config, crops = self.config, features.shape[1] if features.dim() == 4 else 1
        check_trainable(config)
        videos = features.flatten(0, -3)
        labels, lengths, places = (values.repeat_interleave(crops, 0) for values in (labels, lengths, batch_classes(classes)))
        texts, v = self.texts(), self.visual(*self.in_chunks(videos, lengths))
        logits = self.classifier_logits(v)
        similar = end_to_end(self.class_logits(v, logits, texts), videos)
        k = lengths // TOP + 1
        of_videos = top_cross_entropy_within(end_to_end(logits, videos), labels.to(logits.dtype), lengths, k)
        of_classes = top_mean_within(similar.transpose(1, 2), lengths, k)
        own = (places[..., None] == torch.arange(len(config.classes), device=places.device)).any(1).to(of_classes.dtype)
        aligned = (of_classes.log_softmax(-1) * own).sum(1) / own.sum(1)
        directions = unit(texts)
        terms = {"classifier": gathered(of_videos, 1).mean(), "alignment": -gathered(aligned, 1).mean(),
                 "separation": config.separation_weight * (directions[1:] @ directions[0]).abs().mean()}
        return {"total": sum(terms.values())} | terms


def end_to_end(values: Tensor, videos: Tensor) -> Tensor:
    """What chunks gave, (B K, L, ...), as that of videos (B, T, D): (B, T, ...)."""
    values = values.reshape(videos.shape[0], -1, *values.shape[2:])
    return F.pad(values, (0, 0) * (values.dim() - 2) + (0, videos.shape[1] - values.shape[1]))  # a slice's length has no name


def similarities(x: Tensor, lengths: Tensor) -> Tensor:
    """A of x (B, L, D) and lengths (B,): (B, L, L)."""
    norms, within = x.norm(dim=-1), torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    with torch.autocast(x.device.type, enabled=False):  # in bfloat16 many of them cross the threshold
        cosines = x @ x.transpose(1, 2) / (norms[:, :, None] * norms[:, None] + 1e-20)
    logits = torch.where(cosines > THRESHOLD, cosines, 0)
    weights = logits.masked_fill(~within[:, None], -1e30).softmax(-1)
    return weights.masked_fill(~(within[:, :, None] & within[:, None]), 0)


def _distances(x: Tensor) -> Tensor:
    """G, for x (B, L, D): (L, L)."""
    places = torch.arange(x.shape[1], device=x.device, dtype=torch.float64)
    return (DECAY ** (places[:, None] - places).abs()).to(x.dtype)


def unit(x: Tensor) -> Tensor:
    """x / ||x|| over the last axis."""
    return x / x.norm(dim=-1, keepdim=True)


def _same(kept: Tensor, now: Tensor) -> bool:
    """Whether two tensors hold the same numbers, on the same device."""
    return kept.device == now.device and kept.dtype == now.dtype and torch.equal(kept, now)
