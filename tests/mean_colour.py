"""An extractor of another package, for tests: the mean colour of a clip, times a factor for each channel."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from wvad_core.blocks import configuration
from wvad_core.blocks.clips import SCALES, ClipSizes
from wvad_core.blocks.tensors import Parameter
from wvad_core.registry import Published


@dataclass(frozen=True)
class Config(configuration.ExtractorConfig):
    in_channels: int = 3
    bias: bool = False
    scale: str | None = dataclasses.field(default="symmetric", metadata={"choices": SCALES})

    @property
    def feature_dim(self) -> int:
        return self.in_channels


def parameters(config):
    tensors = {"colour.weight": Parameter((config.in_channels,), value=2.0), "head.weight": Parameter((2, config.in_channels), 1.0)}
    return tensors | ({"colour.bias": Parameter((config.in_channels,))} if config.bias else {})


def published(config):
    return Published({f"model.{name}": name for name in parameters(config)}, parts=("colour.", "head."), training_parts=("head.",))


def from_pairs(tensors):
    """Another release: factors as a column, and another name."""
    if set(tensors) != {"factors"}:
        return None
    return {"model.colour.weight": tensors["factors"][:, 0]}


RELEASES = {"paired": from_pairs}


def clip_sizes(config):
    return ClipSizes(published=(4, 8, 8), least=(2, 1, 1), most=(None, 8, None))


def forward(clips, p, config):
    features = clips.mean((2, 3, 4)) * p["colour.weight"]
    return features + p["colour.bias"] if config.bias else features


def install(site: Path) -> None:
    """Into a folder, as pip installs a package."""
    about = site / "mean_colour-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-colour\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[wvad.extractors]\nmean-colour = mean_colour\n")
