"""I3D ResNet-50: two-dimensional filters inflated to clips, in a residual network (Carreira and Zisserman 2017,
arXiv:1705.07750; non-local blocks: Wang et al. 2018, arXiv:1711.07971).

The public weights are those that Facebook AI trained on Kinetics-400 (video-nonlocal-net), converted from caffe2. The
network is

    conv1 5x7x7 / 2, BatchNorm, ReLU, max pool 2x3x3 / 2 without padding, layer1, max pool 2x1x1 / (2, 1, 1), layer2 to 4,

and features are the mean of layer4 over time and space, D = 2048. The layers have 3, 4, 6 and 3 bottlenecks of 64, 128,
256 and 512 channels,

    y = relu(shortcut(x) + bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x))))))))),

conv1 kx1x1 (k = 3 in all of layer1, every second one of layer2 and 3, the middle one of layer4, else 1), conv2 1x3x3, conv3
1x1x1 to four times the channels. conv2 and the shortcut, a 1x1x1 convolution in the first bottleneck of a layer and else x
itself, step by 2 over rows and columns in the first of layers 2 to 4. With `non_local`, blocks follow the second and fourth
bottleneck of layer2, and the second, fourth and sixth of layer3:

    z = x + bn(out(softmax(theta(x)^T phi(pool(x)) / sqrt(C / 2)) g(pool(x)))), pool: max 1x2x2 / (1, 2, 2).

Frames are scaled to (x - 114.75) / 57.375, as these weights were trained; a public copy of the extractor feeds them 2 x / 255 - 1,
which is the setting scale = symmetric.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..blocks import configuration
from ..blocks.activations import relu, softmax
from ..blocks.clips import ClipSizes
from ..blocks.convolution3d import Sizes, conv3d, conv3d_norm, conv3d_parameters, max_pool3d, symmetric
from ..blocks.linear import linear, linear_parameters
from ..blocks.normalisation import batch_norm_parameters
from ..blocks.tensors import Parameter, Scope, flatten
from ..registry import Paper, Published

Array = np.ndarray
PLANES = (64, 128, 256, 512)
LENGTHS = ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1))
"""Of each bottleneck's first kernel, by layers: over so many frames."""
NON_LOCAL = ((), (1, 3), (1, 3, 5), ())
"""The bottlenecks that a non-local block follows."""


@dataclass(frozen=True)
class Config(configuration.ExtractorConfig):
    """The settings of I3D ResNet-50.

    in_channels: C of the clips.
    classes: of the classifier behind the features.
    non_local: whether there are non-local blocks.
    norm_eps: of all BatchNorms.
    scale: of uint8 frames.
    """

    in_channels: int = 3
    classes: int = 400
    non_local: bool = False
    norm_eps: float = 1e-5
    scale: str = configuration.one_of("kinetics", "symmetric", "clip", "raw")

    @property
    def feature_dim(self) -> int:
        return 4 * PLANES[-1]

    @property
    def training_only(self) -> tuple[str, ...]:
        return ("classes",)


@dataclass(frozen=True)
class Block:
    """A bottleneck: its channels, the length of its first kernel, its step over rows and columns, whether a convolution is its
    shortcut, and whether a non-local block follows."""
    inputs: int
    planes: int
    length: int
    step: int
    projected: bool
    non_local: bool


PAPER = Paper("Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", "Carreira and Zisserman", 2017,
              "https://arxiv.org/abs/1705.07750", {})


def blocks(config: Config) -> dict[str, Block]:
    """{name: bottleneck}, in their order: layer1.0 to layer4.2."""
    found, inputs = {}, PLANES[0]
    for layer, (planes, lengths) in enumerate(zip(PLANES, LENGTHS)):
        for i, length in enumerate(lengths):
            found[f"layer{layer + 1}.{i}"] = Block(inputs, planes, length, 2 if i == 0 and layer else 1, i == 0,
                                                   config.non_local and i in NON_LOCAL[layer])
            inputs = 4 * planes
    return found


def clip_sizes(config: Config) -> ClipSizes:
    least = 21 if config.non_local else 5  # that pools have something to take
    return ClipSizes(published=(16, 224, 224), least=(7, least, least))


def parameters(config: Config) -> dict[str, Parameter]:
    tree = {"conv1": conv3d_parameters(config.in_channels, PLANES[0], (5, 7, 7)), "bn1": batch_norm_parameters(PLANES[0])}
    tree |= {name: _block_parameters(block) for name, block in blocks(config).items()}
    return flatten(tree | {"fc": linear_parameters(config.feature_dim, config.classes)})


def _block_parameters(block: Block) -> dict:
    inputs, planes, outputs = block.inputs, block.planes, 4 * block.planes
    tree = {"conv1": conv3d_parameters(inputs, planes, (block.length, 1, 1)), "bn1": batch_norm_parameters(planes),
            "conv2": conv3d_parameters(planes, planes, (1, 3, 3)), "bn2": batch_norm_parameters(planes),
            "conv3": conv3d_parameters(planes, outputs, (1, 1, 1)), "bn3": batch_norm_parameters(outputs)}
    if block.projected:
        tree["downsample"] = {"0": conv3d_parameters(inputs, outputs, (1, 1, 1)), "1": batch_norm_parameters(outputs)}
    if block.non_local:
        tree["nl"] = {name: conv3d_parameters(outputs, outputs // 2, (1, 1, 1), True) for name in ("theta", "phi", "g")}
        tree["nl"] |= {"out": conv3d_parameters(outputs // 2, outputs, (1, 1, 1), True), "bn": batch_norm_parameters(outputs)}
    return tree


def published(config: Config) -> Published:
    """The .pth files of pytorch-resnet3d: the same names, without BatchNorm's counters."""
    return Published({name: name for name in parameters(config)}, parts=("conv1.", "fc."), training_parts=("fc.",))


CAFFE2 = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var", "w": "weight"}
BRANCHES = {"branch2a": "1", "branch2b": "2", "branch2c": "3"}


def from_caffe2(tensors: Mapping[str, Array]) -> Mapping[str, Array] | None:
    """The blobs of Facebook AI's caffe2 files under the names of pytorch-resnet3d; None where they are none.

    What training keeps besides (momentum), and the learning rate and step, are let go.
    """
    kept = {name: value for name, value in tensors.items()
            if "momentum" not in name and name not in ("lr", "model_iter")}
    if not {"conv1_w", "res_conv1_bn_s"} <= set(kept):
        return None
    return {_from_caffe2(name): value for name, value in kept.items()}


def _from_caffe2(name: str) -> str:
    """res2_0_branch2a_bn_s -> layer1.0.bn1.weight; a name that is none of caffe2's stays."""
    *path, end = name.split("_")
    norm = path[-1:] == ["bn"]
    path, tensor = path[:-1] if norm else path, CAFFE2.get(end, "")
    match path:
        case ["conv1"] | ["res", "conv1"]:
            module = "bn1" if norm else "conv1"
        case ["pred"]:
            module = "fc"
        case [layer, block, branch] if layer[:3] == "res" and layer[3:].isdigit() and branch in (*BRANCHES, "branch1"):
            number = BRANCHES.get(branch)
            own = f"{'bn' if norm else 'conv'}{number}" if number else f"downsample.{int(norm)}"
            module = f"layer{int(layer[3:]) - 1}.{block}.{own}"
        case ["nonlocal", layer, block, *rest] if layer[:4] == "conv" and layer[4:].isdigit():
            module = f"layer{int(layer[4:]) - 1}.{block}.nl.{'bn' if norm else '.'.join(rest)}"
        case _:
            return name
    return f"{module}.{tensor}" if tensor else name


RELEASES = {"caffe2's": from_caffe2}


def forward(clips: Array, p: Scope, config: Config) -> Array:
    """Features of normalised clips: (B, C, F, H, W) -> (B, 2048)."""
    for _, x in stages(clips, p, config):
        pass
    return x.mean((1, 2, 3))


def logits(clips: Array, p: Scope, config: Config) -> Array:
    """Of the classes of Kinetics: (B, C, F, H, W) -> (B, classes)."""
    return linear(forward(clips, p, config), **p.at("fc"))


def stages(clips: Array, p: Scope, config: Config) -> Iterator[tuple[str, Array]]:
    """The outputs of conv1 behind its ReLU, of the pools and of the layers, (B, F', H', W', C')."""
    eps = config.norm_eps
    x = relu(conv3d_norm(np.moveaxis(clips, 1, -1), p.at("conv1"), p.at("bn1"), eps, (2, 2, 2), symmetric(2, 3, 3)))
    yield "conv1", x
    x = max_pool3d(x, (2, 3, 3), (2, 2, 2))
    yield "maxpool1", x
    layer = "layer1"
    for name, block in blocks(config).items():
        if not name.startswith(layer):
            yield layer, x
            layer = name.partition(".")[0]
            if layer == "layer2":
                x = max_pool3d(x, (2, 1, 1), (2, 1, 1))
                yield "maxpool2", x
        x = bottleneck(x, p.at(name), block, eps)
    yield layer, x


def bottleneck(x: Array, p: Scope, block: Block, eps: float) -> Array:
    """(B, F, H, W, inputs) -> (B, F, H', W', 4 planes)."""
    def unit(x: Array, number: int, step: int = 1, padding: Sizes = (0, 0, 0)) -> Array:
        return conv3d_norm(x, p.at(f"conv{number}"), p.at(f"bn{number}"), eps, (1, step, step), symmetric(*padding))

    y = relu(unit(x, 1, padding=(block.length // 2, 0, 0)))
    y = unit(relu(unit(y, 2, block.step, (0, 1, 1))), 3)
    if block.projected:
        x = conv3d_norm(x, p.at("downsample.0"), p.at("downsample.1"), eps, (1, block.step, block.step))
    y = relu(x + y)
    return non_local(y, p.at("nl"), eps) if block.non_local else y


def non_local(x: Array, p: Scope, eps: float) -> Array:
    """x + bn(out(attention)), from every position to those of the max pool: (B, F, H, W, C) -> the same shape."""
    pooled = max_pool3d(x, (1, 2, 2), (1, 2, 2))
    theta, phi, g = (conv3d(y, **p.at(name)) for y, name in ((x, "theta"), (pooled, "phi"), (pooled, "g")))
    queries, keys, values = (y.reshape(len(y), -1, y.shape[-1]) for y in (theta, phi, g))
    weights = softmax(queries @ keys.swapaxes(1, 2) / np.sqrt(np.asarray(queries.shape[-1], x.dtype)))
    y = (weights @ values).reshape(theta.shape)
    return x + conv3d_norm(y, p.at("out"), p.at("bn"), eps)
