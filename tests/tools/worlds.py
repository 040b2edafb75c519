"""A small dataset with a checkpoint, that tests run tools on and spoil."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import wvad_core as wv

CROPS, DIM = 3, 8
CONFIG = {"feature_dim": DIM, "channels": 32, "heads": 2, "head_dim": 8, "feed_forward_dim": 16}
FRAMES = {"v=yZ2w__#00-03_label_B1-B2-0": 100, "Riot01": 60, "Fight02": 33, "Normal03": 200, "Normal04": 16}
TABLE = """video,split,category,frames,intervals
v=yZ2w__#00-03_label_B1-B2-0,test,B1-B2,100,40-90
Riot01,test,Riot,60,0-17 40-60
Fight02,test,Fight,33,4-20
Normal03,test,Normal,200,
Normal04,test,Normal,16,
Fight05,train,Fight,,
"""


@dataclass
class World:
    """A folder with own.csv, features/, weights.safetensors, and the options that point to them."""
    root: Path
    options: dict[str, str] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        return [word for name, value in self.options.items() for word in (f"--{name}", str(value))]

    def feature(self, name: str, crop: int) -> Path:
        return self.root / "features" / f"{name}__{crop}.npy"

    def change(self, name: str, crop: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
        path = self.feature(name, crop)
        np.save(path, change(np.load(path)))

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))


def make(folder: Path) -> World:
    rng = np.random.default_rng(0)
    made = World(folder, {"backend": "numpy", "dataset": folder / "own.csv", "features": folder / "features",
                          "checkpoint": folder / "weights.safetensors", "output": folder / "results"})
    (folder / "own.csv").write_text(TABLE)
    (folder / "features").mkdir()
    for name, frames in FRAMES.items():
        for crop in range(CROPS):
            np.save(made.feature(name, crop), rng.random((-(-frames // 16), DIM), np.float32))
    wv.create("bn-wvad", seed=1, **CONFIG).save(made.options["checkpoint"])
    return made
