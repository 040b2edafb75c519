"""Scores of videos without any annotation: a detector, and an extractor where frames are given instead of features."""
from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.threshold import Threshold
from ..data.annotations import SNIPPET
from ..detector import Detector
from ..errors import InputError
from ..extraction.extracting import extracted
from ..extraction.feature_folder import FeatureFolder
from ..extraction.pace import Advance, Pace, followed
from ..extraction.videos import size
from ..extractor import Extractor
from ..registry import specification
from ..video.opening import open
from ..video.recipe import Recipe
from .evaluation import check_scores
from .events import Event, find_events
from .inputs import Input
from .watching import NOMINAL_RATE, Watched

Array = np.ndarray
LOGGER = logging.getLogger("wvad")
KEY_FRAMES = 12
"""That a video keeps: of the events with the highest peaks; without events, of its highest score."""


@dataclass(frozen=True, eq=False)
class ScoredVideo:
    """A video of T snippets.

    name, source: as of an Input. is_video: whether the source can be looked at. scores: (T,).
    times: (T + 1,) seconds, where each snippet begins, and where the last one ends. frame_rate: frames a second; None where that
    is not known: the times are those of NOMINAL_RATE frames then.
    classes: {name: (T,) probabilities}, {} where the method tells none apart. events: by the threshold, () without one.
    key_frames: ((seconds, JPEG), ...), rising. remarks: what its reading came upon.
    """
    name: str
    source: str
    is_video: bool
    scores: Array
    times: Array
    frame_rate: float | None
    classes: dict[str, Array]
    events: tuple[Event, ...] = ()
    key_frames: tuple[tuple[float, bytes], ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass
class Scored:
    """What came of several videos. failed: {name: what is wrong with it}. frames: how many were scored in `seconds`."""
    videos: list[ScoredVideo] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Scorer:
    """What videos are scored by.

    extractor, recipe: both, where frames are given. threshold: without one there are no events. frame_rate: of features, whose
    videos are not at hand, and of videos that do not say it. kept: where features of videos are kept, and taken from where they
    are there; it is of the extractor's and the recipe's origin.

        Scorer(detector, extractor, wv.video.find_recipe("own.toml")).video("Abuse028.mp4").scores

    Raises InputError where detector, extractor and recipe do not go together.
    """
    detector: Detector[Any]
    extractor: Extractor[Any] | None = None
    recipe: Recipe | None = None
    threshold: Threshold | None = None
    frame_rate: float | None = None
    kept: FeatureFolder | None = None

    def __post_init__(self) -> None:
        if self.extractor is None or self.recipe is None:
            return
        made, wanted = self.extractor.config.feature_dim, self.detector.config.feature_dim
        if made != wanted:
            raise InputError(f"features of {self.extractor.name} have D = {made}, this {self.detector.method} detector takes D = "
                             f"{wanted}, expected the extractor that it was trained with")
        try:
            self.detector.config.crops_of(self.recipe.count, self.detector.crops)
        except InputError as error:
            raise InputError(f"the recipe makes {self.recipe.count} crops: {error}") from error

    def all(self, inputs: Sequence[Input]) -> Scored:
        """Score videos one after the other. A bad one is named and left out."""
        scored = Scored()
        with Pace("scoring", {made.name: _size(made) for made in inputs}) as pace:
            for made in inputs:
                try:
                    scored.videos.append(self.input(made, pace.advance))
                except InputError as error:
                    LOGGER.warning("%s: %s", made.name, error)
                    scored.failed[made.name] = str(error)
                for remark in scored.videos[-1].remarks if scored.videos and scored.videos[-1].name == made.name else ():
                    LOGGER.info("%s: %s", made.name, remark)
        scored.frames, scored.seconds = pace.frames, pace.seconds
        return scored

    def input(self, made: Input, advance: Advance = lambda *_: None) -> ScoredVideo:
        """Score one. advance: hears how far it is. Raises InputError."""
        if made.flaw:
            raise InputError(made.flaw)
        if made.features is None:
            return self.video(made.source, made.name, advance)
        features, rate = made.features.read(), self.frame_rate or made.frame_rate
        times = np.arange(features.shape[1] + 1) * SNIPPET / (rate or NOMINAL_RATE)
        found = self._scored(made.name, made.source, False, features, times, rate)
        advance(made.name, 1, SNIPPET * features.shape[1])
        return self._with_events(found, [])

    def video(self, source: Any, name: str | None = None, advance: Advance = lambda *_: None) -> ScoredVideo:
        """Score a video: whatever `wv.video.open` takes. Raises InputError."""
        if self.extractor is None or self.recipe is None:
            raise InputError(f"{source}: a video, expected features where there is no extractor")
        watched = Watched(open(source, frame_rate=self.frame_rate))
        name = name or watched.name
        with tempfile.TemporaryDirectory(prefix="wvad-") as path:  # features of two hours are a gigabyte
            folder = self.kept or FeatureFolder(Path(path), {"layout": "video", "dtype": "float32"}, {})
            self._extract(watched, name, folder, advance)
            features = folder.features(name, self.recipe.count)
        times = watched.times(features.shape[1])
        found = self._scored(name, str(source), True, features, times, watched.source.frame_rate)
        return self._with_events(replace(found, remarks=tuple(watched.remarks())), watched.pictures)

    def _extract(self, watched: Watched, name: str, folder: FeatureFolder, advance: Advance) -> None:
        """Write the features of a video, and tell how far it is. Where they are there, it is watched alone."""
        assert self.extractor is not None and self.recipe is not None
        with folder.claimed(name) as ours:
            if not ours:
                raise InputError(f"another process extracts it into {folder.path}, expected to be the only one")
            if name not in folder.videos(name):
                folder.record(name, extracted(name, watched, self.extractor, self.recipe, folder, advance))
                return
        for _ in followed((frame for frame, _ in watched), watched, name, advance):
            pass

    def _scored(self, name: str, source: str, is_video: bool, features: Array, times: Array,
                frame_rate: float | None) -> ScoredVideo:
        classes = {}
        if specification(self.detector.method).classify is None:
            scores = self.detector.score(features)
        else:
            scores, probabilities = self.detector.score_and_classify(features)
            classes = dict(zip(self.detector.classes, probabilities.T))
        check_scores(scores, name)
        return ScoredVideo(name, source, is_video, scores, times, frame_rate, classes)

    def _with_events(self, video: ScoredVideo, pictures: Sequence[bytes | None]) -> ScoredVideo:
        """With its events, and the pictures of their peaks."""
        events = find_events(video.scores, video.times, self.threshold, video.classes) if self.threshold else ()
        highest = sorted(events, key=lambda event: -event.peak)[:KEY_FRAMES]
        places = sorted({event.peak_snippet for event in highest} or {int(video.scores.argmax())})
        middles = (video.times[:-1] + video.times[1:]) / 2
        frames = tuple((float(middles[t]), picture) for t in places if t < len(pictures) and (picture := pictures[t]))
        return replace(video, events=events, key_frames=frames)


def _size(made: Input) -> int:
    """Bytes, for the progress of many."""
    return sum(file.stat().st_size for file in made.features.files) if made.features else size(made.source)
