"""I3D ResNet-50 as its public PyTorch port computes it: convolutions, BatchNorms and pools one after another, frames in planes."""
from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from wvad_core.extractors.i3d_resnet50 import Config, blocks

Weights = Mapping[str, Tensor]


def features(w: Weights, clip: Tensor) -> Tensor:
    """One crop of a snippet, (1, 3, 16, 224, 224) -> (1, 2048)."""
    x = F.relu(norm(w, "bn1", F.conv3d(clip, w["conv1.weight"], None, 2, (2, 3, 3))), inplace=True)
    x = F.max_pool3d(x, (2, 3, 3), 2)
    for name, block in blocks(Config()).items():
        if name == "layer2.0":
            x = F.max_pool3d(x, (2, 1, 1), (2, 1, 1))
        step, shortcut = (1, block.step, block.step), x
        y = F.conv3d(x, w[f"{name}.conv1.weight"], None, 1, (block.length // 2, 0, 0))
        y = F.conv3d(F.relu(norm(w, f"{name}.bn1", y), inplace=True), w[f"{name}.conv2.weight"], None, step, (0, 1, 1))
        y = norm(w, f"{name}.bn3", F.conv3d(F.relu(norm(w, f"{name}.bn2", y), inplace=True), w[f"{name}.conv3.weight"]))
        if block.projected:
            shortcut = norm(w, f"{name}.downsample.1", F.conv3d(x, w[f"{name}.downsample.0.weight"], None, step))
        x = F.relu(y + shortcut, inplace=True)
    return F.adaptive_avg_pool3d(x, 1).flatten(1)


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.batch_norm(x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"])
