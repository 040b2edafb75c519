"""Videos through an extractor into a feature folder."""
from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from ..checkpoints.contents import digest
from ..errors import InputError
from ..extractor import Extractor
from ..origin import Origin
from ..video.clips import snippets
from ..video.opening import open
from ..video.recipe import Recipe
from . import videos as found_videos
from .feature_folder import FeatureFolder
from .pace import Advance, Pace, followed

LOGGER = logging.getLogger("wvad")
PATIENCE = 0.5
"""Seconds between looks at videos that other processes are at work on."""


@dataclass
class Outcome:
    """What came of an extraction. extracted: names of videos, by this process. there: that were there, or that other processes
    extracted meanwhile. failed: {name: what is wrong with it}. frames: how many were decoded in `seconds`."""
    extracted: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0


def extract(videos: Mapping[str, str], extractor: Extractor, recipe: Recipe, folder: FeatureFolder) -> Outcome:
    """Extract the features of all videos that are not there, sharing them with whoever extracts into the folder as well.

    videos: {name: path or address}. A video that is bad is left out, and the others go on. It ends when all are there that
    can be: what other processes are at work on is waited for, and taken up where one of them is killed.
    Raises Failure where the disk is full, InputError where the folder cannot be written.
    """
    outcome, waiting = Outcome(), dict(videos)
    with Pace("extracting", {name: found_videos.size(source) for name, source in videos.items()}) as pace:
        while waiting:
            there, before = folder.videos(), len(waiting)
            for name in list(waiting):
                if name in there or _taken(name, waiting[name], extractor, recipe, folder, outcome, pace.advance):
                    del waiting[name]
                    if name in there:
                        outcome.there.append(name)
                        pace.advance(name, 1, 0)
            if len(waiting) == before:
                time.sleep(PATIENCE)
    outcome.frames, outcome.seconds = pace.frames, pace.seconds
    return outcome


def _taken(name: str, source: str, extractor: Extractor, recipe: Recipe, folder: FeatureFolder, outcome: Outcome,
           advance: Advance) -> bool:
    """Extract a video, unless another process is at it; whether it is done with, be it well or not."""
    with folder.claimed(name) as ours:
        if not ours:
            return False
        if name in folder.videos():
            outcome.there.append(name)
            advance(name, 1, 0)
            return True
        try:
            about = _extracted(name, source, extractor, recipe, folder, advance)
        except InputError as error:
            LOGGER.warning("%s: %s", name, error)
            outcome.failed[name] = str(error)
            return True
        folder.record(name, about)
        outcome.extracted.append(name)
        for remark in about["remarks"]:
            LOGGER.info("%s: %s", name, remark)
    return True


def _extracted(name: str, source: str, extractor: Extractor, recipe: Recipe, folder: FeatureFolder,
               advance: Advance) -> dict[str, Any]:
    """Write the files of a video; what there is to know of it."""
    opened, count = open(source), 0
    with folder.written(name, recipe.count) as append, closing(snippets(opened, recipe)) as clips:
        for clip in followed(clips, opened, name, advance):
            append(extractor.features(clip))
            count += 1
    return {"frames": opened.frames, "snippets": count, "crops": recipe.count, "frame_rate": opened.frame_rate,
            "remarks": opened.remarks()}


def origin(extractor: Extractor, recipe: Recipe, recipe_name: str, layout: str, dtype: str) -> dict[str, Any]:
    """What features are made by, as plain data: the same where the features are the same."""
    return Origin(extractor.name, extractor.config.as_dict(), extractor.config.feature_dim, digest(extractor.weights()),
                  extractor.precision, recipe_name, recipe.as_dict(), layout, dtype).as_dict()


def versions(extractor: Extractor) -> dict[str, str]:
    """{package: version} of what features are made by, besides their origin."""
    found = {"wvad": version("wvad")} | extractor.backend.versions()
    for package in ("av", "Pillow"):
        try:
            found[package] = version(package)
        except ImportError:  # it may not be needed
            continue
    return found
