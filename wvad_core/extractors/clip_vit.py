"""CLIP's image tower: a vision transformer (Radford et al. 2021, arXiv:2103.00020), which takes each frame by itself.

A frame (3, R, R) is cut into patches of P x P pixels, G x G of them, row by row; a convolution of kernel and stride P
makes each a token. Behind a token of its own for the whole frame, and with a learned vector added for each place, they
pass a LayerNorm and `layers` blocks

    x = x + attention(ln_1(x)),     x = x + c_proj(quick_gelu(c_fc(ln_2(x)))),     quick_gelu(x) = x sigmoid(1.702 x)

with softmax attention in heads of 64, q, k and v packed. The features are the first token's, behind a last LayerNorm
and a product with `proj`; they are not brought to length 1, as the extraction scripts store them. A clip's features are the
mean over its frames, be it one or a snippet's 16.

Published weights are float16, and computed with in float32 here. The text tower beside them is not used.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.clips import ClipSizes
from ..blocks.configuration import require
from ..blocks.linear import linear
from ..blocks.normalisation import layer_norm, layer_norm_parameters
from ..blocks.residual_attention import BLOCK_TENSORS, residual_block, residual_block_parameters
from ..blocks.tensors import Array, Parameter, Scope, flatten
from ..registry import Paper, Published

HEAD = 64
"""Channels of a head in all published towers."""
FRAMES = 16
"""Of a snippet."""
TEXT_BLOCKS = 64
"""Blocks of a text tower whose names are known; published ones have 12 to 32."""

PAPER = Paper("Learning Transferable Visual Models From Natural Language Supervision", "Radford et al.", 2021,
              "https://arxiv.org/abs/2103.00020", {})


@dataclass(frozen=True)
class Config(configuration.ExtractorConfig):
    """The sizes and settings of the tower; those of ViT-B/16 are the defaults.

    resolution: R of the frames, R x R pixels.
    patch: P of the patches.
    width: channels of the tokens.
    layers: how many blocks.
    feature_dim: D of the features.
    heads: of the attention, width / 64 in every published tower.
    in_channels: C of the clips.
    scale: of uint8 frames.
    """

    resolution: int = 224
    patch: int = 16
    width: int = 768
    layers: int = 12
    feature_dim: int = 512
    heads: int = 12
    in_channels: int = 3
    scale: str = configuration.one_of("clip", "symmetric", "kinetics", "raw")

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.resolution % self.patch == 0, "patch", self.patch, f"a divisor of resolution = {self.resolution}")
        require(self.width % self.heads == 0, "heads", self.heads, f"a divisor of width = {self.width}")

    @property
    def grid(self) -> int:
        """Patches in a row of a frame, and rows of them."""
        return self.resolution // self.patch


def clip_sizes(config: Config) -> ClipSizes:
    size = config.resolution
    return ClipSizes(published=(FRAMES, size, size), least=(1, size, size), most=(None, size, size))


def parameters(config: Config) -> dict[str, Parameter]:
    width, bound = config.width, config.width**-0.5
    block = residual_block_parameters(width)
    return flatten({
        "class_embedding": Parameter((width,), bound),
        "positional_embedding": Parameter((config.grid**2 + 1, width), bound),
        "conv1": {"weight": Parameter((width, config.in_channels, config.patch, config.patch), bound)},
        "ln_pre": layer_norm_parameters(width),
        "transformer": {"resblocks": {str(k): block for k in range(config.layers)}},
        "ln_post": layer_norm_parameters(width),
        "proj": Parameter((width, config.feature_dim), bound)})


def infer(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    (width, channels, patch, _), (places, _) = shapes["conv1.weight"], shapes["positional_embedding"]
    return {"width": width, "in_channels": channels, "patch": patch,
            "resolution": patch * math.isqrt(places - 1), "heads": width // HEAD,
            "feature_dim": shapes["proj"][1]}


def published(config: Config) -> Published:
    """CLIP's checkpoints: this tower's tensors behind `visual.`, and beside them the text tower's, which are unused."""
    text = {"positional_embedding", "text_projection", "logit_scale", "token_embedding.weight", "ln_final.weight",
            "ln_final.bias", "input_resolution", "context_length", "vocab_size"}
    text |= {f"transformer.resblocks.{k}.{name}" for k in range(TEXT_BLOCKS) for name in BLOCK_TENSORS}
    return Published({f"visual.{name}": name for name in parameters(config)}, unused=frozenset(text))


def from_larger(state: Mapping[str, Array]) -> dict[str, Array] | None:
    """The tower of a model that has the whole of CLIP as a part of it, `clipmodel`."""
    prefix = "clipmodel."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(f"{prefix}visual.")} or None


RELEASES = {"a part of a larger model's": from_larger}


def forward(clips: Array, p: Scope, config: Config) -> Array:
    """Features of clips (N, 3, F, R, R), normalised -> (N, D): the mean over the frames."""
    clips_count, frames = clips.shape[0], clips.shape[2]
    pictures = clips.swapaxes(1, 2).reshape(clips_count * frames, *clips.shape[1:2], *clips.shape[3:])
    return tower(pictures, p, config).reshape(clips_count, frames, -1).mean(1)


def tower(pictures: Array, p: Scope, config: Config) -> Array:
    """Features of pictures (B, 3, R, R) -> (B, D)."""
    x = patches(pictures, config.patch)
    x = linear(x, p["conv1.weight"].reshape(config.width, -1))
    first = np.broadcast_to(p["class_embedding"], (len(x), 1, config.width))
    x = layer_norm(np.concatenate([first, x], axis=1) + p["positional_embedding"], **p.at("ln_pre"))
    for k in range(config.layers):
        x = residual_block(x, p.at("transformer").at("resblocks").at(k), config.heads)
    return layer_norm(x[:, 0], **p.at("ln_post")) @ p["proj"]


def patches(pictures: Array, size: int) -> Array:
    """(B, 3, R, R) -> (B, G * G, 3 * P * P), row by row, the pixels of a patch in the order of a kernel's weights."""
    count, channels, rows, columns = pictures.shape
    cut = pictures.reshape(count, channels, rows // size, size, columns // size, size)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * size * size)
