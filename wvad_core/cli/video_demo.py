"""`wvad demo --video`: from drawn videos to a page of what happens in them, with what is bundled."""
from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import wvad_core as wv

from ..checkpoints import formats
from ..checkpoints.contents import digest
from ..data.annotations import Video, abnormal_fraction
from ..extraction.extracting import extractor_of
from ..models import load_detector
from ..progress import progress_bar
from ..registry import specification
from ..reports import page, scored_videos
from ..scoring import metrics
from ..scoring.evaluation import Frames, VideoScores
from ..scoring.inputs import find_inputs
from ..scoring.videos import ScoredVideo, Scorer
from ..video.source import required
from ..video_demo import videos as demo_videos
from . import options

OUTPUT = Path("wvad-demo")
BACKEND = "numpy"
"""Its networks are small: a framework takes longer to start than they to compute."""
NEXT = """
open {page}

next:
  wvad render {video} --scores {folder}/scores.csv --output {folder}/curve.mp4
  wvad score VIDEO --checkpoint DETECTOR --extractor EXTRACTOR --output scores      videos of your own"""


def run(arguments: argparse.Namespace) -> None:
    """Draw the videos, score them, and write what `wvad score` writes. Raises InputError where PyAV or Pillow is missing."""
    options.set_log_level(arguments)
    if arguments.method:
        raise wv.InputError(f"--method {arguments.method}: --video has a detector of its own, expected one of the two")
    for module, package in (("av", "PyAV"), ("PIL", "Pillow")):
        required(module, package, "wvad demo --video")
    folder, begun = arguments.output or OUTPUT, time.monotonic()
    scorer = scorer_of(arguments.backend or BACKEND, arguments.device or "auto")
    with scored_videos.claimed(folder):
        drawn = {video.name: video for video in progress_bar(
            demo_videos.written(folder / "videos"), "drawing videos", total=len(demo_videos.VIDEOS), unit="video")}
        if not arguments.quiet:
            frames = sum(video.frames or 0 for video in drawn.values())
            print(f"drawn {len(drawn)} videos, {frames} frames\n{scorer.extractor}\n{scorer.detector}", flush=True)
        scored = scorer.all(find_inputs([str(folder / "videos")])).videos
        said = _saved(folder, scorer, scored, drawn)
    print(table(scored, drawn))
    print(f"\nframe-level AUC {100 * auc(scored, drawn):.2f} %, over the anomalies as they were drawn")
    if not arguments.quiet:
        print(f"{said}\nin {time.monotonic() - begun:.1f} s\n"
              + NEXT.format(page=folder / page.PAGE, folder=folder, video=folder / "videos" / f"{scored[0].name}.mp4"))


def scorer_of(backend: str, device: str = "auto") -> Scorer:
    """The bundled extractor and detector, with the detector's threshold."""
    recipe = demo_videos.RECIPE
    detector = load_detector(demo_videos.DETECTOR, backend, device)
    contents = formats.read(demo_videos.EXTRACTOR)[1]
    extractor = extractor_of(recipe, contents, str(demo_videos.EXTRACTOR), backend, device, "float32")
    return Scorer(detector, extractor, recipe, detector.threshold)


def auc(scored: Sequence[ScoredVideo], drawn: Mapping[str, Video]) -> float:
    """Over all frames, by the intervals in which the anomalies were drawn."""
    return Frames(VideoScores(video.name, (), bool(drawn[video.name].abnormal), video.scores,
                              abnormal_fraction(drawn[video.name], len(video.scores)))
                  for video in scored).metric(metrics.roc_auc)


def table(scored: Sequence[ScoredVideo], drawn: Mapping[str, Video]) -> str:
    """A line for each video: its highest score, its events, and its anomaly."""
    rows = [("video", "highest score", "events", "anomaly, as drawn")]
    for video in sorted(scored, key=lambda video: -video.scores.max()):
        anomaly = [_span(*seconds) for seconds in _truth(drawn[video.name])]
        events = [_span(event.start, event.end) for event in video.events]
        rows.append((video.name, f"{video.scores.max():.3f}", ", ".join(events) or "none", ", ".join(anomaly) or "none"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip() for row in rows)


def _span(start: float, end: float) -> str:
    return f"{start:.1f} to {end:.1f} s"


def _truth(video: Video) -> list[tuple[float, float]]:
    """Its anomalous seconds."""
    assert video.frame_rate is not None
    return [(start / video.frame_rate, end / video.frame_rate) for start, end in video.intervals]


def _saved(folder: Path, scorer: Scorer, scored: Sequence[ScoredVideo], drawn: Mapping[str, Video]) -> str:
    """Write everything; what is there then, in words."""
    detector, extractor = scorer.detector, scorer.extractor
    about = {"method": detector.method, "checkpoint": demo_videos.DETECTOR.name, "weights_sha256": digest(detector.weights()),
             "extractor": extractor and extractor.name, "recipe": demo_videos.RECIPE_FILE.stem,
             "origin": detector.origin and detector.origin.as_dict()}
    truth = {name: _truth(video) for name, video in drawn.items()}
    return scored_videos.save(folder, scored, scorer.threshold, about, specification(detector.method).PROBABILITIES, truth)
