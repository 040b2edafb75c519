"""Videos of random features on disk, and how the published loops bring them to segments."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scoring import CHOICES
from wvad_core.data.annotations import SNIPPET

Array = np.ndarray


def write(folder: Path, counts: Mapping[str, int], snippets: tuple[int, int], crops: int, dim: int) -> Path:
    """table.csv of so many videos a split, SPLIT0, SPLIT1, ..., every second one abnormal; and a file a video and crop.

    snippets: of a video, the fewest and the most. Returns the table's path.
    """
    rng, lines = np.random.default_rng(CHOICES["seed"]), ["video,split,category,frames,intervals"]
    for split, count in counts.items():
        for i in range(count):
            length = int(rng.integers(*snippets))
            interval = f"{4 * length}-{8 * length}" if i % 2 else ""
            lines.append(f"{split}{i},{split},{'Abuse' if i % 2 else 'Normal'},{SNIPPET * length},{interval}")
            for crop in range(crops):
                np.save(folder / f"{split}{i}__{crop}.npy", rng.standard_normal((length, dim), np.float32))
    table = folder / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def pooled(features: Array, segments: int) -> Array:
    """The means of a crop's segments, one after another: (T, D) -> (S, D)."""
    borders = np.linspace(0, len(features), segments + 1, dtype=int)
    return np.stack([features[start:max(end, start + 1)].mean(0) for start, end in zip(borders, borders[1:])])
