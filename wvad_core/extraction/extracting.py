"""Videos through an extractor into a feature folder."""
from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from ..checkpoints.contents import Contents, digest
from ..errors import InputError
from ..extractor import Extractor
from ..models import extractor_from_contents
from ..origin import Origin
from ..video.clips import snippets
from ..video.opening import open
from ..video.recipe import Recipe
from ..video.source import Source
from . import videos as found_videos
from .feature_folder import FeatureFolder
from .pace import Advance, Pace, followed

LOGGER = logging.getLogger("wvad")
PATIENCE = 0.5
"""Seconds between looks at videos that other processes are at work on."""


@dataclass
class Outcome:
    """What came of an extraction. extracted: names of videos, by this process; shared: by others meanwhile. there: that were
    there. failed: {name: what is wrong with it}. frames: how many were decoded in `seconds`, by all of them."""
    extracted: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0


def extractor_of(recipe: Recipe, contents: Contents, source: str, backend: str, device: str, precision: str) -> Extractor[Any]:
    """The extractor that a recipe asks for, with its settings. contents: of its checkpoint, which messages call `source`.
    Raises InputError for one of another model."""
    return extractor_from_contents(contents, source, backend, device, precision, method=recipe.extractor,
                                   **{**recipe.settings, "scale": recipe.scale})


def extract(videos: Mapping[str, str], extractor: Extractor, recipe: Recipe, folder: FeatureFolder,
            hidden: bool = False) -> Outcome:
    """Extract the features of all videos that are not there, sharing them with whoever extracts into the folder as well.

    videos: {name: path or address}. A video that is bad is left out by all, and the others go on. It ends when all are there
    that can be: what other processes are at work on is waited for, and taken up where one of them is killed. hidden: without
    a progress bar. Raises Failure where the disk is full, InputError where the folder cannot be written.
    """
    with folder.shared(), Pace("extracting", found_videos.sizes(videos), hidden) as pace:
        outcome = begun(videos, folder, pace.advance)
        waiting = [name for name in videos if name not in outcome.there]
        while waiting:
            known = folder.videos(), folder.failures()
            left = [name for name in waiting
                    if not (_known(name, *known, outcome, pace.advance)
                            or _taken(name, videos[name], extractor, recipe, folder, outcome, pace.advance))]
            if left == waiting:
                time.sleep(PATIENCE)
            waiting = left
    outcome.frames, outcome.seconds = pace.frames, pace.seconds
    return outcome


def begun(videos: Iterable[str], folder: FeatureFolder, advance: Advance) -> Outcome:
    """The outcome as it begins: with the videos that are there."""
    there = folder.videos()
    outcome = Outcome(there=[name for name in videos if name in there])
    for name in outcome.there:
        advance(name, 1, 0)
    return outcome


def _known(name: str, done: Mapping[str, Any], failed: Mapping[str, str], outcome: Outcome, advance: Advance) -> bool:
    """Note what came of a video in another process; whether that is known. done, failed: what the folder has of videos."""
    if name in done:
        outcome.shared.append(name)
    elif name in failed:
        outcome.failed[name] = failed[name]
    else:
        return False
    advance(name, 1, done[name].get("frames", 0) if name in done else 0)
    return True


def _taken(name: str, source: str, extractor: Extractor, recipe: Recipe, folder: FeatureFolder, outcome: Outcome,
           advance: Advance) -> bool:
    """Extract a video, unless another process is at it; whether it is done with, be it well or not."""
    with folder.claimed(name) as ours:
        if not ours or _known(name, folder.videos(name), folder.failures(), outcome, advance):
            return ours
        try:
            about = extracted(name, open(source), extractor, recipe, folder, advance)
        except InputError as error:
            LOGGER.warning("%s: %s", name, error)
            outcome.failed[name] = str(error)
            folder.fail(name, str(error))
            return True
        folder.record(name, about)
        outcome.extracted.append(name)
        for remark in about["remarks"]:
            LOGGER.info("%s: %s", name, remark)
    return True


def extracted(name: str, source: Source, extractor: Extractor, recipe: Recipe, folder: FeatureFolder,
              advance: Advance) -> dict[str, Any]:
    """Write the files of a video, which is claimed; what there is to know of it. Raises InputError for a bad one."""
    count = 0
    with folder.written(name, recipe.count) as append, closing(snippets(source, recipe)) as clips:
        for clip in followed(clips, source, name, advance):
            append(extractor.features(clip))
            count += 1
    return {"frames": source.frames, "snippets": count, "crops": recipe.count, "frame_rate": source.frame_rate,
            "remarks": source.remarks()}


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
