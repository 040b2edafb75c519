"""VadCLIP: a vision-language detector on CLIP features (Wu et al., AAAI 2024, arXiv:2308.11681).

Features are CLIP image embeddings, x (L, D) of a chunk of exactly L = `max_length` snippets, the first n of a video
and zeros behind them. Padded snippets are not masked: with their positions they take part everywhere but in the graph
of similarities, and so change the scores of real ones. A longer video is cut into chunks that know nothing of each
other;

    x   = transformer(features + position embeddings), CLIP's blocks with attention within disjoint windows of w snippets
    A   = softmax over j < n of s_ij, s = cos(x_i, x_j) where that is above 0.7 and else 0; rows and columns from n on are 0
    G   = exp(-|i - j| / e), not normalised, over all L
    x_1 = quick(gc2(quick(gc1(x, A)), A)),  x_2 = quick(gc4(quick(gc3(x, G)), G)),  gc(x, M) = M (x W) + R(x)
    v   = linear([x_1, x_2])
    l   = classifier(v + mlp2(v))                          the classifier's branch: score = sigmoid(l)
    u_c = t_c + p,  p = sum_i l_i v_i / ||sum_i l_i v_i||  over all L, padding included
    z_c = cos(v, u_c + mlp1(u_c)) / 0.07                   the alignment's branch: class probabilities = softmax over c

quick(x) = x sigmoid(1.702 x); R is a convolution of 5 snippets in gc1 and gc3, and x itself in gc2 and gc4. The
alignment's score is 1 - P(class 0), the normal one. The texts' features t (C, D) come of CLIP's frozen text encoder:
each class's words within learned rows, `prompt_prefix` before and `prompt_postfix` behind them. `score_branch` says
which branch `score` gives.

Of several crops of a video, `test_crop` alone is scored, as the authors do. Training takes each crop as a video of
its own.

With n snippets, k = n // 16 + 1 and y the label vector divided by its sum, the terms are

    classifier  bce(mean of the k largest sigmoid(l), abnormal?)
    alignment   -sum_c y_c log softmax_c(mean of the k largest z_c), each class by its own snippets
    separation  separation_weight * sum_(c >= 1) |cos(t_0, t_c)| / (C - 1), of t without p
    total = classifier + alignment + separation

Scores and classes hang on t alone, not on how it was made: with `text` = "features" a network holds t (C, D) in place
of the prompts and the encoder, a sixth of the numbers. It computes the same; it cannot be trained.

A published model_xd.pth takes the settings of XD-Violence's recipe, which no tensor shows. Training as published
begins with CLIP's own file, `--init ViT-B-16.pt`, whose text encoder is taken. The image tower that published files
have too is dropped here; `wv.load(file, method="clip-vit")` is the extractor with it.

Paper and code: where they differ, this follows the code. The separation takes the cosine's absolute value, where the
paper clamps it at 0. Distances have no learned scale (`disAdj.sigma` is stored and never used), padding is not
masked, and the scored crop is the one that the authors chose for the better result.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..blocks import configuration
from ..blocks.activations import quick_gelu, sigmoid, softmax
from ..blocks.attention import DECAY
from ..blocks.configuration import require
from ..blocks.convolution import conv1d, conv1d_parameters
from ..blocks.linear import linear, linear_parameters
from ..blocks.losses import top_cross_entropy_within, top_mean_within
from ..blocks.normalisation import layer_norm, layer_norm_parameters
from ..blocks.residual_attention import (
    feed_forward,
    feed_forward_parameters,
    residual_block,
    residual_block_parameters,
)
from ..blocks.tensors import Array, Parameter, Scope, flatten, xavier_bound
from ..conventions import Protocol
from ..data.batches import Batch
from ..errors import InputError
from ..registry import Paper, Published
from ..tokenizer import CONTEXT, token_ids

THRESHOLD = 0.7
"""What a similarity is above, or else 0."""
TEMPERATURE = 0.07
TOP = 16
"""Of n snippets the n // 16 + 1 largest stand for a video."""
CHUNKS = 16
"""Chunks computed at a time in evaluation, so that memory does not grow with a video."""
CLIP_WIDTHS = (512, 640, 768, 1024)
"""Of the text encoders of CLIP's checkpoints, whose heads have 64 channels."""

UCF_CRIME = {"normal": "5967", "abuse": "7678", "arrest": "9320", "arson": "29937", "assault": "9679", "burglary": "32573",
             "explosion": "13785", "fighting": "4652", "roadAccidents": "4370 22072", "robbery": "16393", "shooting": "3992",
             "shoplifting": "5738 10857", "stealing": "14242", "vandalism": "45664"}
XD_VIOLENCE = {"normal": "5967", "fighting": "4652", "shooting": "3992", "riot": "14218", "abuse": "7678",
               "car accident": "1615 6608", "explosion": "13785"}
"""The published class names, and their ids in CLIP's vocabulary."""
PUBLISHED_IDS = UCF_CRIME | XD_VIOLENCE
DEMO_CLASSES = {"normal": "0", "arson": "1", "explosion": "2", "fighting": "3", "robbery": "4"}
"""In a small vocabulary."""
CODES = {"fighting": "B1", "shooting": "B2", "riot": "B4", "abuse": "B5", "car accident": "B6", "explosion": "G"}
"""What XD-Violence's table calls its classes."""


@dataclass(frozen=True)
class Config(configuration.Config):
    """The sizes and settings of VadCLIP; those for UCF-Crime are the defaults.

    feature_dim: D of the features, even.
    max_length: L, the snippets of a chunk.
    heads, depth, attention_window: of the local transformer; the window divides L.
    classes: the classes' texts, the normal one first.
    categories: what the dataset's table calls them; () where it calls them so but for capitals, or by XD-Violence's codes.
    token_ids: the ids of each class's text in CLIP's vocabulary, such as "4370 22072"; () for those of the published classes,
        and for those that the tokenizer gives of others.
    prompt_prefix, prompt_postfix: learned rows before and behind the words.
    text_width, text_heads, text_depth, vocabulary: of the text encoder. The last two ids of the vocabulary mark a text's start and end.
    image_depth: blocks of the image tower that a published checkpoint has beside the text encoder; all of it is dropped.
    text: what is held of the texts, their "encoder" or the "features" that it gave, which are not trained further.
    score_branch: which branch scores are of.
    test_crop: the crop that is scored of a video that has several.
    separation_weight: of the term.
    """

    crops_together: ClassVar[bool] = True
    halves: ClassVar[bool] = False
    feature_dim: int = 512
    max_length: int = 256
    heads: int = 1
    depth: int = 2
    attention_window: int = 8
    classes: tuple[str, ...] = tuple(UCF_CRIME)
    categories: tuple[str, ...] = ()
    token_ids: tuple[str, ...] = ()
    prompt_prefix: int = configuration.at_least(0, 10)
    prompt_postfix: int = configuration.at_least(0, 10)
    text_width: int = 512
    text_heads: int = 8
    text_depth: int = 12
    vocabulary: int = configuration.at_least(3, 49408)
    image_depth: int = 12
    text: str = configuration.one_of("encoder", "features")
    score_branch: str = configuration.one_of("classifier", "alignment")
    test_crop: int = configuration.at_least(0, 5)
    separation_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.feature_dim % 2 == 0, "feature_dim", self.feature_dim, "an even number")
        require(self.max_length % self.attention_window == 0, "attention_window", self.attention_window,
                f"a divisor of max_length = {self.max_length}")
        require(self.feature_dim % self.heads == 0, "heads", self.heads, f"a divisor of feature_dim = {self.feature_dim}")
        require(self.text_width % self.text_heads == 0, "text_heads", self.text_heads,
                f"a divisor of text_width = {self.text_width}")
        require(len(self.classes) > 1 and len(set(self.classes)) == len(self.classes), "classes", list(self.classes),
                "at least two different texts")
        require(len(self.categories) in (0, len(self.classes)), "categories", list(self.categories),
                f"none or one for each of {len(self.classes)} classes")
        if self.text == "encoder":
            self._check_tokens()

    def _check_tokens(self) -> None:
        if not self.token_ids and not set(self.classes) <= set(PUBLISHED_IDS):  # what was saved takes no tokenizer
            object.__setattr__(self, "token_ids", tuple(
                PUBLISHED_IDS.get(name) or " ".join(map(str, token_ids(name))) for name in self.classes))
        require(len(self.token_ids) in (0, len(self.classes)), "token_ids", list(self.token_ids),
                f"those of each of {len(self.classes)} classes")
        for ids in self.words:
            words = ids.split()
            # those of published classes are checked when a network is built: a file shows its vocabulary, and not its classes
            most = self.vocabulary - 2 if self.token_ids else math.inf
            require(words != [] and all(word.isdecimal() and int(word) < most for word in words), "token_ids",
                    ids, f"whole numbers from 0 to {self.vocabulary - 3} with blanks between them")
            require(self.prompt_prefix + len(words) + 1 + self.prompt_postfix < CONTEXT, "token_ids", ids,
                    f"a text that ends before place {CONTEXT} with its {self.prompt_prefix} + {self.prompt_postfix} learned rows")

    @property
    def words(self) -> tuple[str, ...]:
        """The ids of each class's text."""
        return self.token_ids or tuple(PUBLISHED_IDS[name] for name in self.classes)

    @property
    def training_only(self) -> tuple[str, ...]:
        return "categories", "image_depth", "separation_weight"

    @property
    def frozen(self) -> tuple[str, ...]:
        """CLIP is left as it is; gradients flow through it into the learned rows."""
        return ("clipmodel",) if self.text == "encoder" else ()

    def scored_crop(self, crops: int) -> int:
        """The crop that is scored of so many. Raises InputError where there are fewer."""
        if 1 < crops <= self.test_crop:
            raise InputError(f"{crops} crops, expected one, or more than test_crop = {self.test_crop}: the crop that is scored")
        return min(crops - 1, self.test_crop)


PROTOCOLS = {
    "ucf-crime": Protocol({"score_branch": "classifier", "test_crop": 5}, metrics={"ap": "average_precision"},
                          note="the crop 5 alone; of the two branches the classifier's chooses the checkpoint"),
    "xd-violence": Protocol({"score_branch": "alignment", "test_crop": 0}, metrics={"ap": "average_precision"},
                            note="the crop 0 alone; of the two branches the alignment's chooses the checkpoint")}
PROBABILITIES = True  # a sigmoid trained by cross-entropy, or what a softmax leaves for the anomalous classes
PAPER = Paper("VadCLIP: Adapting Vision-Language Models for Weakly Supervised Video Anomaly Detection", "Wu et al.", 2024,
              "https://arxiv.org/abs/2308.11681", {"ucf-crime": {"auc": 88.02}, "xd-violence": {"ap": 84.51}})
XD_SETTINGS = {"depth": 1, "attention_window": 64, "classes": tuple(XD_VIOLENCE), "score_branch": "alignment", "test_crop": 0,
               "separation_weight": 1e-4}
DEMO = Config(feature_dim=32, max_length=100, depth=1, attention_window=10, classes=tuple(DEMO_CLASSES), prompt_prefix=2,
              prompt_postfix=2, text_width=16, text_heads=2, text_depth=1, vocabulary=16, token_ids=tuple(DEMO_CLASSES.values()))
# Steps of an epoch, after which the authors go back to the best weights: 8000 crops of normal videos, 39540 of all of them.
_PUBLISHED = {"segments": 256, "sampling": "segments-or-padded", "crops": "each", "optimiser": "adamw", "weight_decay": 0.01,
              "schedule": "multi-step", "decay": 0.1, "seed": 234}
RECIPES = {
    "ucf-crime": _PUBLISHED | {"videos": 64, "draw": "epochs", "learning_rate": 2e-5, "steps": 10 * 125,
                               "milestones": (4 * 125, 8 * 125), "evaluate_every": 10, "evaluate_after": 1,
                               "reload_best_every": 125},
    "xd-violence": _PUBLISHED | {"videos": 96, "batches": "items", "draw": "epochs-with-rest", "learning_rate": 1e-5,
                                 "steps": 10 * 412, "milestones": (3 * 412, 6 * 412), "evaluate_every": 412,
                                 "reload_best_every": 412, "metric": "average_precision", "settings": XD_SETTINGS},
    "demo": {"segments": 100, "sampling": "segments-or-padded", "videos": 16, "steps": 300, "learning_rate": 2e-3,
             "optimiser": "adamw", "weight_decay": 1.0, "settings": DEMO.as_dict()}}


def classes(config: Config) -> tuple[str, ...]:
    """What the dataset's table calls the classes."""
    if config.categories:
        return config.categories
    codes = CODES if config.classes == tuple(XD_VIOLENCE) else {}
    return tuple(codes.get(name, name[:1].upper() + name[1:]) for name in config.classes)


def parameters(config: Config) -> dict[str, Parameter]:
    channels, half = config.feature_dim, config.feature_dim // 2
    block, mlp = _local_block(channels), feed_forward_parameters(channels)
    texts = {"text_features": Parameter((len(config.classes), channels), deviation=channels**-0.5)}
    if config.text == "encoder":
        texts = {"text_prompt_embeddings": {"weight": Parameter((CONTEXT, config.text_width), deviation=0.01)},
                 "clipmodel": _text_encoder(config)}
    return flatten({
        "frame_position_embeddings": {"weight": Parameter((config.max_length, channels), deviation=0.01)},
        "temporal": {"resblocks": {str(k): block for k in range(config.depth)}},
        "gc1": {"weight": _xavier(channels, half), "residual": conv1d_parameters(channels, half, 5)},
        "gc2": {"weight": _xavier(half, half)},
        "gc3": {"weight": _xavier(channels, half), "residual": conv1d_parameters(channels, half, 5)},
        "gc4": {"weight": _xavier(half, half)},
        "linear": linear_parameters(channels, channels), "mlp1": mlp, "mlp2": mlp,
        "classifier": linear_parameters(channels, 1)} | texts)


def _xavier(inputs: int, outputs: int) -> Parameter:
    return Parameter((inputs, outputs), xavier_bound((inputs, outputs)))


def _local_block(width: int) -> dict:
    """A block as PyTorch begins it: Xavier-uniform projections to q, k and v as one, no bias in the attention."""
    block = residual_block_parameters(width)
    attention = {"in_proj_weight": _xavier(3 * width, width), "in_proj_bias": Parameter((3 * width,)),
                 "out_proj": linear_parameters(width, width) | {"bias": Parameter((width,))}}
    return block | {"attn": attention}


def _text_encoder(config: Config) -> dict:
    """CLIP's. Published training begins with OpenAI's weights; fresh ones have the spreads that CLIP begins with."""
    width = config.text_width
    blocks = {str(k): residual_block_parameters(width) for k in range(config.text_depth)}
    return {"token_embedding": {"weight": Parameter((config.vocabulary, width), deviation=0.02)},
            "positional_embedding": Parameter((CONTEXT, width), deviation=0.01), "transformer": {"resblocks": blocks},
            "ln_final": layer_norm_parameters(width),
            "text_projection": Parameter((width, config.feature_dim), deviation=width**-0.5)}


def infer(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int | str]:
    found: dict[str, int | str] = {"text": "features" if "text_features" in shapes else "encoder"}
    for setting, name, axis in (("feature_dim", "classifier.weight", 1), ("feature_dim", "clipmodel.text_projection", 1),
                                ("max_length", "frame_position_embeddings.weight", 0),
                                ("text_width", "clipmodel.positional_embedding", 1),
                                ("vocabulary", "clipmodel.token_embedding.weight", 0)):
        if name in shapes:
            found[setting] = shapes[name][axis]
    if (width := int(found.get("text_width", 0))) in CLIP_WIDTHS:
        found["text_heads"] = width // 64
    return found


def published(config: Config) -> Published:
    """The official checkpoints: these tensors, CLIP's image tower, and two that nothing uses."""
    names = parameters(config)
    return Published({name: name for name in names},
                     unused=frozenset({"disAdj.sigma", "clipmodel.logit_scale"}), unused_parts=("clipmodel.visual.",),
                     parts=tuple(dict.fromkeys(f"{name.split('.')[0]}." for name in names if "." in name)))


def from_clip(state: Mapping[str, Array]) -> dict[str, Array] | None:
    """The text encoder of CLIP's own checkpoints, with which published training begins; the other parts are fresh."""
    if "token_embedding.weight" not in state or "text_projection" not in state:
        return None
    unused = ("visual.", "input_resolution", "context_length", "vocab_size")
    return {f"clipmodel.{name}": value for name, value in state.items() if not name.startswith(unused)}


RELEASES = {"CLIP's": from_clip}


def forward(features: Array, p: Scope, config: Config) -> Array:
    """Anomaly scores: (B, T, D), or of crop `test_crop` of (B, N, T, D) -> (B, T)."""
    return scores(evaluated(features, p, config, config.score_branch == "alignment"), config)


def classify(features: Array, p: Scope, config: Config) -> Array:
    """Class probabilities: (B, T, D), or of crop `test_crop` of (B, N, T, D) -> (B, T, C)."""
    return evaluated(features, p, config, True)[1]


def score_and_classify(features: Array, p: Scope, config: Config) -> tuple[Array, Array]:
    """Both."""
    found = evaluated(features, p, config, True)
    return scores(found, config), found[1]


def scores(found: tuple[Array, ...], config: Config) -> Array:
    """Of what `evaluated` gave those of the branch that is scored. The alignment's are 1 - P(normal), without its cancellation."""
    return sigmoid(found[0]) if config.score_branch == "classifier" else found[1][..., 1:].sum(-1)


def evaluated(features: Array, p: Scope, config: Config, classes: bool) -> tuple[Array, ...]:
    """The classifier's logits (B, T) and, where they are wanted, class probabilities (B, T, C), of the crop that is scored."""
    videos = features[:, config.scored_crop(features.shape[1])] if features.ndim == 4 else features
    chunks, lengths = in_chunks(videos, np.full(len(videos), videos.shape[1]), config.max_length)
    texts = text_features(p, config, features.dtype) if classes else None
    parts = [of_chunks(chunks[i:i + CHUNKS], lengths[i:i + CHUNKS], texts, p, config) for i in range(0, len(chunks), CHUNKS)]
    return tuple(end_to_end(np.concatenate(part), videos) for part in zip(*parts))


def of_chunks(chunks: Array, lengths: Array, texts: Array | None, p: Scope, config: Config) -> tuple[Array, ...]:
    """Logits (B, L) and, with texts alone, class probabilities (B, L, C) of chunks (B, L, D)."""
    v = visual(chunks, lengths, p, config)
    logits = classifier_logits(v, p)
    return (logits,) if texts is None else (logits, softmax(class_logits(v, logits, texts, p)))


def in_chunks(features: Array, lengths: Array, size: int) -> tuple[Array, Array]:
    """Videos (B, T, D) of so many snippets (B,) in chunks, zeros behind: (B K, L, D), and the length of each, (B K,)."""
    batch, steps, channels = features.shape
    count = -(-steps // size)
    padded = np.concatenate([features, np.zeros((batch, count * size - steps, channels), features.dtype)], axis=1)
    within = np.clip(lengths[:, None] - size * np.arange(count), 0, size)
    return padded.reshape(batch * count, size, channels), within.reshape(-1)


def end_to_end(values: Array, videos: Array) -> Array:
    """What chunks gave, (B K, L, ...), as that of videos (B, T, D): (B, T, ...)."""
    batch, steps = videos.shape[:2]
    return values.reshape(batch, -1, *values.shape[2:])[:, :steps]


def visual(chunks: Array, lengths: Array, p: Scope, config: Config) -> Array:
    """v of chunks (B, L, D), of which so many snippets are a video's, (B,): (B, L, D)."""
    x = local_transformer(chunks + p["frame_position_embeddings.weight"], p.at("temporal"), config)
    near, far = similarities(x, lengths), distances(x.shape[1]).astype(x.dtype)
    parts = []
    for graph, first, second in ((near, "gc1", "gc2"), (far, "gc3", "gc4")):
        hidden = quick_gelu(graph @ (x @ p[f"{first}.weight"]) + conv1d(x, **p.at(first).at("residual")))
        parts.append(quick_gelu(graph @ (hidden @ p[f"{second}.weight"]) + hidden))
    return linear(np.concatenate(parts, axis=-1), **p.at("linear"))


def local_transformer(x: Array, p: Scope, config: Config) -> Array:
    """Windows know nothing of each other, so each is an item: O(L w). (B, L, D) -> (B, L, D)."""
    windows = x.reshape(-1, config.attention_window, x.shape[-1])
    for k in range(config.depth):
        windows = residual_block(windows, p.at("resblocks").at(k), config.heads)
    return windows.reshape(x.shape)


def similarities(x: Array, lengths: Array) -> Array:
    """A of x (B, L, D) and lengths (B,): (B, L, L)."""
    norms, within = np.linalg.norm(x, axis=-1), np.arange(x.shape[1]) < lengths[:, None]
    cosines = x @ x.swapaxes(1, 2) / (norms[:, :, None] * norms[:, None] + 1e-20)
    logits = np.where(cosines > THRESHOLD, cosines, 0)
    return softmax(np.where(within[:, None], logits, -1e30)) * (within[:, :, None] & within[:, None])


def distances(size: int) -> Array:
    """G, (L, L) float64."""
    places = np.arange(size)
    return DECAY ** np.abs(places[:, None] - places)


def classifier_logits(v: Array, p: Scope) -> Array:
    """(B, L, D) -> (B, L)."""
    return linear(v + feed_forward(v, p.at("mlp2")), **p.at("classifier"))[..., 0]


def class_logits(v: Array, logits: Array, texts: Array, p: Scope) -> Array:
    """v (B, L, D), the classifier's logits (B, L), t (C, D) -> (B, L, C)."""
    prompts = unit((logits[:, None] @ v)[:, 0])
    u = texts + prompts[:, None]
    return unit(v) @ unit(u + feed_forward(u, p.at("mlp1"))).swapaxes(1, 2) / TEMPERATURE


def unit(x: Array) -> Array:
    """x / ||x|| over the last axis."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def prompt_layout(config: Config) -> tuple[Array, Array]:
    """The id that stands at each place of each class's text, -1 where a learned row does, (C, S); where the texts end, (C,).

    S is the longest text's length: the encoder looks back alone, so that what is behind an end changes nothing.
    """
    words = [[int(word) for word in ids.split()] for ids in config.words]
    ends = np.array([config.prompt_prefix + len(ids) + 1 + config.prompt_postfix for ids in words])
    require(max(map(max, words)) < config.vocabulary - 2, "token_ids", list(config.words), f"ids below {config.vocabulary - 2}, "
            "those of a text's start and end, in a vocabulary of this size")
    layout = np.full((len(words), ends.max() + 1), -1)
    layout[:, 0] = config.vocabulary - 2
    layout[np.arange(len(words)), ends] = config.vocabulary - 1
    for row, ids in zip(layout, words):
        row[config.prompt_prefix + 1:][:len(ids)] = ids
    return layout, ends


def text_features(p: Scope, config: Config, dtype: type) -> Array:
    """t, (C, D)."""
    if config.text == "features":
        return p["text_features"].astype(dtype)
    (layout, ends), clip = prompt_layout(config), p.at("clipmodel")
    rows = p["text_prompt_embeddings.weight"][:layout.shape[1]]
    x = np.where((layout >= 0)[..., None], clip["token_embedding.weight"][np.maximum(layout, 0)], rows).astype(dtype)
    x = x + clip["positional_embedding"][:layout.shape[1]]
    for k in range(config.text_depth):
        x = residual_block(x, clip.at("transformer").at("resblocks").at(k), config.text_heads, causal=True)
    return layer_norm(x[np.arange(len(ends)), ends], **clip.at("ln_final")) @ clip["text_projection"]


def deployed(weights: Mapping[str, Array], config: Config) -> tuple[dict[str, Array], Config]:
    """The features of the texts in place of what they are made by."""
    if config.text == "features":
        return dict(weights), config
    held = replace(config, text="features")
    texts = text_features(Scope(dict(weights)), config, np.float64).astype(np.float32)
    return {name: weights[name] if name in weights else texts for name in parameters(held)}, held


def check_trainable(config: Config) -> None:
    """Raise InputError where there is no text encoder."""
    if config.text == "features":
        raise InputError("vadclip with text=features, as saved for deployment, cannot be trained, expected one with text=encoder")


def losses(batch: Batch, p: Scope, config: Config) -> dict[str, Array]:
    """Training terms of (V, T, D), or (V, N, T, D), each crop as a video: total, classifier, alignment, separation."""
    check_trainable(config)
    crops = batch.features.shape[1] if batch.features.ndim == 4 else 1
    videos = batch.features.reshape(-1, *batch.features.shape[-2:])
    labels, lengths, places = (np.repeat(values, crops, axis=0) for values in (
        batch.labels, batch.true_lengths(), batch_classes(batch.class_indices(len(config.classes)))))
    chunks, within = in_chunks(videos, lengths, config.max_length)
    texts, k = text_features(p, config, videos.dtype), lengths // TOP + 1
    v = visual(chunks, within, p, config)
    logits = classifier_logits(v, p)
    similar = end_to_end(class_logits(v, logits, texts, p), videos)
    of_classes = top_mean_within(similar.swapaxes(1, 2), lengths, k)
    own = (places[..., None] == np.arange(len(config.classes))).any(1)
    aligned = (np.log(softmax(of_classes)) * own).sum(1) / own.sum(1)
    directions = unit(texts)
    terms = {"classifier": top_cross_entropy_within(end_to_end(logits, videos), labels, lengths, k).mean(),
             "alignment": -aligned.mean(),
             "separation": config.separation_weight * np.abs(directions[1:] @ directions[0]).mean()}
    return {"total": sum(terms.values())} | terms


def batch_classes(places: Array | None) -> Array:
    """The classes of a batch. Raises InputError where it has none."""
    if places is None:
        raise InputError("a batch has no classes, expected those of each video: classes=[[0], [3], ...]")
    return places
