"""Inception-I3D: the Inception network with filters inflated to clips (Carreira and Zisserman 2017, arXiv:1705.07750).

A unit is a convolution without bias, BatchNorm and ReLU. Convolutions and max pools are padded as TensorFlow's "same",
with zeros (`blocks.convolution3d.same_padding`). The network is

    7x7x7 / 2, 64     max 1x3x3 / (1, 2, 2)     1x1x1, 64     3x3x3, 192     max 1x3x3 / (1, 2, 2)
    Mixed_3b, 3c      max 3x3x3 / 2             Mixed_4b to 4f               max 2x2x2 / 2            Mixed_5b, 5c

and a Mixed block is four branches of the same input, side by side:

    b0 1x1x1;     b1a 1x1x1, b1b 3x3x3;     b2a 1x1x1, b2b 3x3x3;     max pool 3x3x3 / 1, b3b 1x1x1

Features, D = 1024, are the mean over windows of 2 frames and 7x7 cells: one vector for 9 to 16 frames of 193 to 224
rows and columns. Of a longer or larger clip there are several, and their mean is taken.

The weights were published with DeepMind's TensorFlow code, and made over into PyTorch twice: pytorch-i3d
(rgb_imagenet.pt, flow_imagenet.pt, whose names are taken here) and kinetics_i3d_pytorch (model_rgb.pth, model_flow.pth).
They are trained with a BatchNorm eps of 1e-3, which no tensor shows; an old copy of the latter in UR-DMU's extraction has
1e-5: `norm_eps`.
Flow has in_channels = 2.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu
from ..blocks.clips import ClipSizes
from ..blocks.convolution3d import (Sizes, conv3d, conv3d_norm, conv3d_parameters, max_pool3d, mean_pool3d,
                                    same_padding)
from ..blocks.normalisation import batch_norm_parameters
from ..blocks.tensors import Parameter, Scope, flatten
from ..registry import Paper, Published

Array = np.ndarray
ONE, THREE, WINDOW = (1, 1, 1), (3, 3, 3), (2, 7, 7)


class Unit(NamedTuple):
    """A convolution, BatchNorm and ReLU."""
    outputs: int
    kernel: Sizes
    stride: Sizes = ONE


class Pool(NamedTuple):
    """A max pool."""
    kernel: Sizes
    stride: Sizes


class Mixed(NamedTuple):
    """Four branches: the outputs of their units."""
    b0: int
    b1a: int
    b1b: int
    b2a: int
    b2b: int
    b3b: int

    @property
    def outputs(self) -> int:
        return self.b0 + self.b1b + self.b2b + self.b3b


LAYERS: dict[str, Unit | Pool | Mixed] = {
    "Conv3d_1a_7x7": Unit(64, (7, 7, 7), (2, 2, 2)),
    "MaxPool3d_2a_3x3": Pool((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": Unit(64, ONE),
    "Conv3d_2c_3x3": Unit(192, THREE),
    "MaxPool3d_3a_3x3": Pool((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": Mixed(64, 96, 128, 16, 32, 32),
    "Mixed_3c": Mixed(128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": Pool(THREE, (2, 2, 2)),
    "Mixed_4b": Mixed(192, 96, 208, 16, 48, 64),
    "Mixed_4c": Mixed(160, 112, 224, 24, 64, 64),
    "Mixed_4d": Mixed(128, 128, 256, 24, 64, 64),
    "Mixed_4e": Mixed(112, 144, 288, 32, 64, 64),
    "Mixed_4f": Mixed(256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": Pool((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": Mixed(256, 160, 320, 32, 128, 128),
    "Mixed_5c": Mixed(384, 192, 384, 48, 128, 128),
}
"""In their order, by the names that the published code gives their outputs."""

PAPER = Paper("Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", "Carreira and Zisserman", 2017,
              "https://arxiv.org/abs/1705.07750", {})


@dataclass(frozen=True)
class Config(configuration.ExtractorConfig):
    """The settings of Inception-I3D.

    in_channels: C of the clips: 3, or 2 of optical flow.
    classes: of the classifier behind the features.
    norm_eps: of all BatchNorms.
    scale: of uint8 frames.
    """

    in_channels: int = 3
    classes: int = 400
    norm_eps: float = 1e-3
    scale: str = configuration.one_of("symmetric", "kinetics", "clip", "raw")

    @property
    def feature_dim(self) -> int:
        return LAYERS["Mixed_5c"].outputs

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("classes",)


def clip_sizes(config: Config) -> ClipSizes:
    return ClipSizes(published=(16, 224, 224), least=(9, 193, 193))


def layers(config: Config) -> Iterator[tuple[str, int, Unit | Pool | Mixed]]:
    """(name, input channels, layer), in their order."""
    inputs = config.in_channels
    for name, layer in LAYERS.items():
        yield name, inputs, layer
        inputs = inputs if isinstance(layer, Pool) else layer.outputs


def branches(inputs: int, widths: Mixed) -> dict[str, tuple[int, Unit]]:
    """{name: (input channels, unit)} of a Mixed block's units."""
    return {"b0": (inputs, Unit(widths.b0, ONE)), "b1a": (inputs, Unit(widths.b1a, ONE)),
            "b1b": (widths.b1a, Unit(widths.b1b, THREE)), "b2a": (inputs, Unit(widths.b2a, ONE)),
            "b2b": (widths.b2a, Unit(widths.b2b, THREE)), "b3b": (inputs, Unit(widths.b3b, ONE))}


def parameters(config: Config) -> dict[str, Parameter]:
    tree: dict = {}
    for name, inputs, layer in layers(config):
        if isinstance(layer, Unit):
            tree[name] = _unit_parameters(inputs, layer)
        elif isinstance(layer, Mixed):
            tree[name] = mixed_parameters(inputs, layer)
    return flatten(tree | {"logits": {"conv3d": conv3d_parameters(config.feature_dim, config.classes, ONE, bias=True)}})


def mixed_parameters(inputs: int, widths: Mixed) -> dict:
    return {branch: _unit_parameters(*unit) for branch, unit in branches(inputs, widths).items()}


def _unit_parameters(inputs: int, unit: Unit) -> dict:
    return {"conv3d": conv3d_parameters(inputs, unit.outputs, unit.kernel), "bn": batch_norm_parameters(unit.outputs)}


def published(config: Config) -> Published:
    """The checkpoints of pytorch-i3d: the same names. Those of its first years have no BatchNorm counters."""
    return Published({name: name for name in parameters(config)}, parts=("Conv3d_1a_7x7.", "logits."),
                     training_parts=("logits.",))


PORTED = {"branch_0": "b0", "branch_1.0": "b1a", "branch_1.1": "b1b", "branch_2.0": "b2a", "branch_2.1": "b2b",
          "branch_3.1": "b3b"}
PORTED_NAME = re.compile(r"(conv3d_\w+|mixed_\w+)\.(?:(branch_\d(?:\.\d)?)\.)?(conv3d|batch3d)\.(\w+)")
TF_BRANCHES = {"Branch_0/Conv3d_0a_1x1": "b0", "Branch_1/Conv3d_0a_1x1": "b1a", "Branch_1/Conv3d_0b_3x3": "b1b",
               "Branch_2/Conv3d_0a_1x1": "b2a", "Branch_2/Conv3d_0b_3x3": "b2b", "Branch_3/Conv3d_0b_1x1": "b3b",
               "Branch_2/Conv3d_0a_3x3": "b2b"}  # as it is called in Mixed_5b
TF_NAME = re.compile(r"(?:RGB|Flow)/inception_i3d/(.+?)/(conv_3d|batch_norm)/(\w+?)(?::0)?")
TF_TENSORS = {"w": "weight", "b": "bias", "beta": "bias", "gamma": "weight", "moving_mean": "running_mean",
              "moving_variance": "running_var"}


def from_ported(tensors: Mapping[str, Array]) -> Mapping[str, Array] | None:
    """The tensors of kinetics_i3d_pytorch under the names of pytorch-i3d; None where they are none."""
    if "conv3d_1a_7x7.conv3d.weight" not in tensors:
        return None
    return {_from_ported(name): value for name, value in tensors.items()}


def _from_ported(name: str) -> str:
    """mixed_3b.branch_1.0.batch3d.bias -> Mixed_3b.b1a.bn.bias; a name that is none of theirs stays."""
    match = PORTED_NAME.fullmatch(name)
    if not match or (match[2] and match[2] not in PORTED):
        return name
    layer = "logits" if match[1] == "conv3d_0c_1x1" else match[1][0].upper() + match[1][1:]
    branch = f".{PORTED[match[2]]}" if match[2] else ""
    return f"{layer}{branch}.{'bn' if match[3] == 'batch3d' else 'conv3d'}.{match[4]}"


def from_tensorflow(tensors: Mapping[str, Array]) -> Mapping[str, Array] | None:
    """DeepMind's variables under the names, and in the layout, of pytorch-i3d; None where they are none.

    Kernels have the axes (frames, height, width, input, output) there, and BatchNorms no weight: it is 1.
    """
    if not any(f"{stream}/inception_i3d/Conv3d_1a_7x7/conv_3d/w{end}" in tensors
               for stream in ("RGB", "Flow") for end in ("", ":0")):
        return None
    found: dict[str, Array] = {}
    for name, value in tensors.items():
        ours = _from_tensorflow(name)
        if ours.endswith("conv3d.weight") and np.ndim(value) == 5:
            value = np.ascontiguousarray(np.transpose(value, (4, 3, 0, 1, 2)))
        elif ours != name:
            value = np.reshape(value, -1)
        found[ours] = value
    for name in [name for name in found if name.endswith(".bn.bias")]:
        found.setdefault(f"{name.removesuffix('bias')}weight", np.ones_like(found[name]))
    return found


def _from_tensorflow(name: str) -> str:
    """RGB/inception_i3d/Mixed_3b/Branch_0/Conv3d_0a_1x1/conv_3d/w -> Mixed_3b.b0.conv3d.weight; other names stay."""
    match = TF_NAME.fullmatch(name)
    if not match or match[3] not in TF_TENSORS:
        return name
    layer, _, branch = match[1].partition("/")
    if layer == "Logits":
        layer, branch = "logits", ""
    if branch and branch not in TF_BRANCHES:
        return name
    module = f"{layer}.{TF_BRANCHES[branch]}" if branch else layer
    return f"{module}.{'conv3d' if match[2] == 'conv_3d' else 'bn'}.{TF_TENSORS[match[3]]}"


RELEASES = {"kinetics_i3d_pytorch's": from_ported, "TensorFlow's": from_tensorflow}


def forward(clips: Array, p: Scope, config: Config) -> Array:
    """Features of normalised clips: (B, C, F, H, W) -> (B, 1024), of several windows their mean."""
    return pooled(clips, p, config).mean((1, 2, 3))


def pooled(clips: Array, p: Scope, config: Config) -> Array:
    """The features of every window, (B, F', H', W', 1024)."""
    for _, x in stages(clips, p, config):
        pass
    return mean_pool3d(x, WINDOW)


def classify(windows: Array, p: Scope) -> Array:
    """The logits of classes, of what `pooled` gives: (B, F', H', W', 1024) -> (B, F', H', W', classes)."""
    return conv3d(windows, p["logits.conv3d.weight"], p["logits.conv3d.bias"])


def stages(clips: Array, p: Scope, config: Config) -> Iterator[tuple[str, Array]]:
    """The output of every layer, (B, F', H', W', C')."""
    x = np.moveaxis(clips, 1, -1)
    for name, layer in LAYERS.items():
        if isinstance(layer, Pool):
            x = max_pool3d(x, *layer, same_padding(x.shape[1:4], *layer))
        elif isinstance(layer, Unit):
            x = unit(x, p.at(name), config.norm_eps, layer.stride)
        else:
            x = mixed(x, p.at(name), config.norm_eps)
        yield name, x


def unit(x: Array, p: Scope, eps: float, stride: Sizes = ONE) -> Array:
    padding = same_padding(x.shape[1:4], p["conv3d.weight"].shape[2:], stride)
    return relu(conv3d_norm(x, p.at("conv3d"), p.at("bn"), eps, stride, padding))


def mixed(x: Array, p: Scope, eps: float) -> Array:
    x1, x2 = (unit(unit(x, p.at(f"{branch}a"), eps), p.at(f"{branch}b"), eps) for branch in ("b1", "b2"))
    largest = max_pool3d(x, THREE, ONE, same_padding(x.shape[1:4], THREE))
    return np.concatenate([unit(x, p.at("b0"), eps), x1, x2, unit(largest, p.at("b3b"), eps)], axis=-1)
