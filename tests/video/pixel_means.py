"""A small extractor in the form of another package's: a projection of the mean colours of a clip's four quarters."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wvad_core.blocks import configuration
from wvad_core.blocks.clips import ClipSizes
from wvad_core.blocks.tensors import Parameter

NAME = "pixel-means"


@dataclass(frozen=True)
class Config(configuration.ExtractorConfig):
    """depth: D of the features. times: what they are multiplied by."""
    in_channels: int = 3
    depth: int = 6
    times: float = 1.0
    scale: str = configuration.one_of("kinetics", "symmetric", "clip", "raw")

    @property
    def feature_dim(self) -> int:
        return self.depth


def clip_sizes(config: Config) -> ClipSizes:
    return ClipSizes(published=(16, 8, 8), least=(1, 2, 2))


def parameters(config: Config) -> dict[str, Parameter]:
    return {"weight": Parameter((config.depth, 4 * config.in_channels), 0.5)}


def infer(shapes: Any) -> dict[str, int]:
    return {"depth": shapes["weight"][0]} if "weight" in shapes else {}


def forward(clips: np.ndarray, p: Any, config: Config) -> np.ndarray:
    rows, columns = clips.shape[3] // 2, clips.shape[4] // 2
    quarters = [clips[..., r:r + rows, c:c + columns].mean((2, 3, 4)) for r in (0, rows) for c in (0, columns)]
    return (np.concatenate(quarters, axis=1) @ p["weight"].T * config.times).astype(clips.dtype)


def install(site: Path, name: str = NAME) -> None:
    """Make a folder a package that brings this extractor, as pip installs it; to be on the path, with this file's folder."""
    about = site / "pixel_means-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pixel-means\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[wvad.extractors]\n{name} = {name.replace('-', '_')}\n")
