"""VadCLIP in MindSpore. The formulas are in `wvad_core.methods.vadclip`."""
from __future__ import annotations

import numpy as np

import mindspore as ms
from mindspore import Tensor, nn, ops
from mindspore.nn.cell import _pynative_executor
from wvad_core.blocks.remembered import Remembered
from wvad_core.methods import vadclip as specification
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

from ..blocks.activations import quick_gelu
from ..blocks.convolution import Conv1d
from ..blocks.linear import Linear
from ..blocks.losses import top_cross_entropy_within, top_mean_within
from ..blocks.normalisation import LayerNorm
from ..blocks.parameters import zeros
from ..blocks.residual_attention import FeedForward, ResidualBlocks
from ..network import VideoNetwork
from ..parallel import gathered

_product, _add, _products = ops.MatMul(), ops.BiasAdd(), ops.BatchMatMul()
_products_transposed, _softmax = ops.BatchMatMul(transpose_b=True), ops.Softmax(-1)


class _Table(nn.Cell):
    """Rows of embeddings; `weight` is what it holds."""

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.weight = zeros(rows, width)


class GraphConvolution(nn.Cell):
    """M (x W) + R(x), R a convolution of 5 snippets where the width changes, and x itself where not."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = zeros(inputs, outputs)
        self.residual = Conv1d(inputs, outputs, 5) if inputs != outputs else None

    def construct(self, x: Tensor, graph: Tensor) -> Tensor:
        outputs = _product(x.reshape(-1, x.shape[2]), self.weight).reshape(x.shape[:2] + (-1,))
        return _products(graph, outputs) + (x if self.residual is None else self.residual(x))


class TextEncoder(nn.Cell):
    """CLIP's text encoder, of learned rows with the classes' words in them. Frozen."""

    def __init__(self, config: Config):
        super().__init__()
        width, (layout, ends) = config.text_width, prompt_layout(config)
        self.ids, self.words = layout.tolist(), np.unique(np.maximum(layout, 0))
        self.last = (ends + layout.shape[1] * np.arange(len(ends))).tolist()
        self.token_embedding = _Table(config.vocabulary, width)
        self.positional_embedding = zeros(CONTEXT, width)
        self.transformer = ResidualBlocks(width, config.text_depth, config.text_heads, causal=True)
        self.ln_final = LayerNorm(width)
        self.text_projection = zeros(width, config.feature_dim)
        self.remembered = Remembered()
        for parameter in self.get_parameters():
            parameter.requires_grad = False

    def __call__(self, rows: Tensor) -> Tensor:
        """In evaluation it is computed once for the same weights; a graph is made of `construct`."""
        if self.training or _pynative_executor.grad_flag() or ms.get_context("mode") == ms.GRAPH_MODE:
            return super().__call__(rows)
        words = self.token_embedding.weight.asnumpy()[self.words]
        others = [parameter.asnumpy() for name, parameter in self.parameters_and_names()
                  if not name.startswith("token_embedding")]
        return self.remembered.value([rows.asnumpy(), words, *others], np.array_equal, np.copy, lambda: super(
            TextEncoder, self).__call__(rows))

    def construct(self, rows: Tensor) -> Tensor:
        """Learned rows (77, W) -> t (C, D)."""
        layout, width = Tensor(self.ids, ms.int32), rows.shape[1]
        classes, places = layout.shape
        words = ops.gather(self.token_embedding.weight, ops.maximum(layout, 0).reshape(-1), 0).reshape(classes, places, width)
        mask = (layout >= 0).astype(rows.dtype).expand_dims(2)
        x = words * mask + rows[:places].expand_dims(0) * (1 - mask)
        x = _add(x.reshape(classes, places * width), self.positional_embedding[:places].reshape(-1)).reshape(x.shape)
        x = self.ln_final(self.transformer(x).reshape(-1, width))
        return _product(ops.gather(x, Tensor(self.last, ms.int32), 0), self.text_projection)


class Network(VideoNetwork):
    extras = ("labels", "true_lengths", "classes")

    def build_layers(self, config: Config) -> None:
        channels, half = config.feature_dim, config.feature_dim // 2
        self.frame_position_embeddings = _Table(config.max_length, channels)
        self.temporal = ResidualBlocks(channels, config.depth, config.heads)
        self.gc1, self.gc2 = GraphConvolution(channels, half), GraphConvolution(half, half)
        self.gc3, self.gc4 = GraphConvolution(channels, half), GraphConvolution(half, half)
        self.linear, self.classifier = Linear(channels, channels), Linear(channels, 1)
        self.mlp1, self.mlp2 = FeedForward(channels), FeedForward(channels)
        if config.text == "features":
            self.text_features = zeros(len(config.classes), channels)
        else:
            self.text_prompt_embeddings = _Table(CONTEXT, config.text_width)
            self.clipmodel = TextEncoder(config)

    def construct(self, features: Tensor) -> Tensor:
        """Anomaly scores: (B, T, D), or of crop `test_crop` of (B, N, T, D) -> (B, T)."""
        if self.config.score_branch == "classifier":
            return ops.sigmoid(self.evaluated(features, None)[0])
        return self.evaluated(features, self.texts())[1][..., 1:].sum(-1)

    def classify(self, features: Tensor) -> Tensor:
        """Class probabilities: (B, T, D), or of crop `test_crop` of (B, N, T, D) -> (B, T, C)."""
        return self.evaluated(features, self.texts())[1]

    def score_and_classify(self, features: Tensor) -> tuple[Tensor, Tensor]:
        logits, probabilities = self.evaluated(features, self.texts())
        scores = ops.sigmoid(logits) if self.config.score_branch == "classifier" else probabilities[..., 1:].sum(-1)
        return scores, probabilities

    def evaluated(self, features: Tensor, texts: Tensor | None) -> tuple[Tensor, ...]:
        """The classifier's logits (B, T) and, with texts alone, class probabilities (B, T, C), of the crop that is scored."""
        videos = self.scored(features) if features.ndim == 4 else features
        chunks, lengths = self.in_chunks(videos, None)
        if self.any_length or self.training or chunks.shape[0] <= CHUNKS:
            found = self.of_chunks(chunks, lengths, texts)
        else:  # some chunks at a time, so that memory does not grow with a video
            parts = [self.of_chunks(chunks[i:i + CHUNKS], lengths[i:i + CHUNKS], texts)
                     for i in range(0, chunks.shape[0], CHUNKS)]
            found = [ops.cat([part[i] for part in parts]) for i in range(len(parts[0]))]
        return tuple([end_to_end(values, videos) for values in found])

    def of_chunks(self, chunks: Tensor, lengths: Tensor, texts: Tensor | None) -> tuple[Tensor, ...]:
        """Logits (B, L) and, with texts alone, class probabilities (B, L, C) of chunks (B, L, D)."""
        v = self.visual(chunks, lengths)
        logits = self.classifier_logits(v)
        return (logits,) if texts is None else (logits, _softmax(self.class_logits(v, logits, texts)))

    def scored(self, features: Tensor) -> Tensor:
        """The crop that is scored, (B, N, T, D) -> (B, T, D). A graph for any length takes any number of crops."""
        if not self.any_length:
            return features[:, _scored_crop(self.config, features.shape[1])]
        more = ops.minimum(ops.ones_like(features[0, :, 0, 0]).sum() - 1, 1.0)
        return ops.gather(features, (more * self.config.test_crop).astype(ms.int32), 1)

    def in_chunks(self, videos: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """Videos (B, T, D) in chunks (B K, L, D), and how many snippets of each are a video's, (B K,); None: all T."""
        (batch, steps, channels), size = videos.shape, self.config.max_length
        count = (steps + size - 1) // size
        if self.any_length:  # an empty array cannot be joined
            count = count + 1
        starts = size * ops.arange(count).reshape(1, -1)
        if self.any_length or count * size > steps:
            videos = ops.cat((videos, ops.zeros((batch, count * size - steps, channels), videos.dtype)), 1)
        within = ops.tile(steps - starts, (batch, 1)) if lengths is None else lengths.reshape(-1, 1) - starts
        within = ops.minimum(ops.maximum(within, 0), size)
        return videos.reshape(-1, size, channels), within.reshape(-1)

    def visual(self, chunks: Tensor, lengths: Tensor) -> Tensor:
        """v of chunks (B, L, D), of which so many snippets are a video's, (B,): (B, L, D)."""
        batch, size, channels = chunks.shape
        x = _add(chunks.reshape(batch, size * channels), self.frame_position_embeddings.weight.reshape(-1))
        x = self.temporal(x.reshape(-1, self.config.attention_window, channels)).reshape(batch, size, channels)
        near, far = similarities(x, lengths), ops.tile(_distances(size), (batch, 1, 1))
        x1 = quick_gelu(self.gc2(quick_gelu(self.gc1(x, near)), near))
        x2 = quick_gelu(self.gc4(quick_gelu(self.gc3(x, far)), far))
        return self.linear(ops.cat((x1, x2), -1))

    def classifier_logits(self, v: Tensor) -> Tensor:
        """(B, L, D) -> (B, L)."""
        return self.classifier(v + self.mlp2(v)).squeeze(-1)

    def class_logits(self, v: Tensor, logits: Tensor, texts: Tensor) -> Tensor:
        """v (B, L, D), the classifier's logits (B, L), t (C, D) -> (B, L, C)."""
        classes, channels = texts.shape
        u = (texts.expand_dims(0) + unit(_products(logits.expand_dims(1), v))).reshape(-1, channels)
        u = (u + self.mlp1(u)).reshape(-1, classes, channels)
        return _products_transposed(unit(v), unit(u)) / TEMPERATURE

    def texts(self) -> Tensor:
        """t, (C, D)."""
        if self.config.text == "features":
            return self.text_features
        return self.clipmodel(self.text_prompt_embeddings.weight)

    def terms(self, features: Tensor, labels: Tensor, lengths: Tensor, classes: Tensor | None) -> dict[str, Tensor]:
        config, crops = self.config, features.shape[1] if features.ndim == 4 else 1
        _check(config, classes is None)
        videos = features.reshape((-1,) + features.shape[-2:])
        labels, lengths, places = [ops.repeat_interleave(values, crops, 0) for values in (labels, lengths, classes)]
        texts, v = self.texts(), self.visual(*self.in_chunks(videos, lengths))
        logits = self.classifier_logits(v)
        similar = end_to_end(self.class_logits(v, logits, texts), videos)
        k = lengths // TOP + 1
        of_videos = top_cross_entropy_within(end_to_end(logits, videos), labels.astype(logits.dtype), lengths, k)
        of_classes = top_mean_within(similar.swapaxes(1, 2), lengths, k)
        own = (places.expand_dims(2) == ops.arange(len(config.classes))).astype(logits.dtype).sum(1)
        aligned = (ops.log_softmax(of_classes, -1) * own).sum(1) / own.sum(1)
        directions = unit(texts)
        terms = {"classifier": gathered(of_videos, 1).mean(), "alignment": -gathered(aligned, 1).mean(),
                 "separation": config.separation_weight * ops.abs((directions[1:] * directions[:1]).sum(-1)).mean()}
        terms["total"] = terms["classifier"] + terms["alignment"] + terms["separation"]
        return terms


def end_to_end(values: Tensor, videos: Tensor) -> Tensor:
    """What chunks gave, (B K, L, ...), as that of videos (B, T, D): (B, T, ...)."""
    batch, steps, _ = videos.shape
    return values.reshape((batch, -1) + values.shape[2:])[:, :steps]


def similarities(x: Tensor, lengths: Tensor) -> Tensor:
    """A of x (B, L, D) and lengths (B,): (B, L, L)."""
    norms, within = ops.sqrt(ops.square(x).sum(-1)), (ops.arange(x.shape[1]) < lengths.expand_dims(1)).astype(x.dtype)
    cosines = _products_transposed(x, x) / (norms.expand_dims(2) * norms.expand_dims(1) + 1e-20)
    logits = ops.where(cosines > THRESHOLD, cosines, 0.0)
    weights = _softmax(logits + (within.expand_dims(1) - 1) * 1e30)
    return weights * (within.expand_dims(2) * within.expand_dims(1))


def unit(x: Tensor) -> Tensor:
    """x / ||x|| over the last axis."""
    return x / ops.sqrt(ops.square(x).sum(-1, keepdims=True))


@ms.constexpr
def _distances(size: int) -> Tensor:
    """G, (1, L, L)."""
    return Tensor(specification.distances(size).astype(np.float32)[None])


@ms.constexpr
def _scored_crop(config: Config, crops: int) -> int:
    return config.scored_crop(crops)


@ms.constexpr
def _check(config: Config, lacks_classes: bool) -> None:
    check_trainable(config)
    batch_classes(None if lacks_classes else np.zeros(1))
