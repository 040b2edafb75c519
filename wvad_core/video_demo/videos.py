"""The videos of the demo: which there are, how they are written, and what was bundled for them."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..data.annotations import Video
from ..video.recipe import find_recipe
from ..video.writing import written_video
from .scenes import RATE, Scene

FOLDER = Path(__file__).parent
EXTRACTOR, DETECTOR, RECIPE_FILE = (FOLDER / name for name in ("extractor.safetensors", "detector.safetensors", "drawn.json"))
RECIPE = find_recipe(RECIPE_FILE)
VIDEOS = {"fighting": "fighting", "running": "running", "fire": "fire", "van": "driving", "fall": "falling",
          "normal-1": None, "normal-2": None, "normal-3": None}
"""{name: the kind of anomaly in it}."""
SEED, SECONDS = 0, 26.0
SUFFIX = ".mp4"


def written(folder: Path, seed: int = SEED) -> Iterator[Video]:
    """Write the videos of a seed into a folder, one after the other; what there is to know of each, its anomalous frames too."""
    for number, (name, kind) in enumerate(VIDEOS.items()):
        yield write_video(folder / (name + SUFFIX), Scene.drawn(seed * len(VIDEOS) + number, kind, SECONDS))


def write_video(path: Path, scene: Scene) -> Video:
    """Write a scene as a video. Raises InputError where PyAV is missing, or the folder cannot be written."""
    with written_video(path, RATE, preset="veryfast") as append:
        for k, frame in enumerate(scene.frames()):
            append(frame, k / RATE)
    return Video(path.stem, "test", (scene.kind or "normal").capitalize(), scene.length,
                 (scene.interval,) if scene.interval else (), RATE)
