"""Draws docs/scores.png and docs/weak_supervision.png, from a video of the demo set and its detector.

Run: python docs/make_pictures.py
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import wvad_core as wv
from wvad_core.data import demo
from wvad_core.data.annotations import SNIPPET
from wvad_core.reports import figures

VIDEO = "Robbery013"
METHOD = "ur-dmu"
TOP = 7  # of 104 snippets: UR-DMU takes T // 16 + 1
BLUE, RED, GREY, DARK = "#1f5fa8", "#d1495b", "#c9ced6", "#2b2f36"


def main() -> None:
    checkpoint = demo.demo_checkpoint(METHOD)
    detector = wv.load(checkpoint)
    dataset = wv.data.Dataset.open("demo", demo.demo_features(layout=detector.config.layout))
    report = wv.evaluate(detector, dataset, about={"checkpoint": str(checkpoint)})
    shown = next(video for video in report.videos if video.name == VIDEO)
    figures.timeline(shown, figures.subject(report)).savefig(Path(__file__).with_name("scores.png"))
    item = next(item for item in dataset if item.video.name == VIDEO)
    features = item.features.read()
    scores = detector.score(features)
    figure = Figure((10, 6.6), dpi=160, facecolor="white")
    frames, crops, curve = figure.subplots(3, sharex=True, height_ratios=(0.5, 2.2, 2))
    end = SNIPPET * len(scores)
    draw_frames(frames, len(scores))
    draw_features(crops, features, end)
    draw_scores(curve, scores, item.video.intervals)
    for axes, number, title in ((frames, 1, f"a video: {end} frames, {len(scores)} snippets of {SNIPPET}"),
                                (crops, 2, f"features (N, T, D): {len(features)} crops, {len(scores)} snippets, "
                                           f"{features.shape[-1]} numbers each, from a frozen network"),
                                (curve, 3, "anomaly scores (T,)")):
        axes.set_title(f"{number}   {title}", loc="left", fontsize=10, color=DARK, pad=7)
    figure.tight_layout(h_pad=1.4)
    figure.savefig(Path(__file__).with_name("weak_supervision.png"))


def draw_frames(axes, count: int) -> None:
    axes.set(xlim=(0, SNIPPET * count), ylim=(0, 1))
    for snippet in range(count):
        axes.add_patch(Rectangle((SNIPPET * snippet, 0), SNIPPET, 1, facecolor="#eef1f5" if snippet % 2 else GREY, linewidth=0))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False)


def draw_features(axes, features: np.ndarray, end: int) -> None:
    """Crops below one another, the D numbers of a snippet from top to bottom in each."""
    rows = np.concatenate([np.pad(crop.T[:12], ((0, 3), (0, 0)), constant_values=np.nan) for crop in features])
    limit = np.nanpercentile(np.abs(rows), 98)
    axes.imshow(rows, aspect="auto", extent=(0, end, 0, len(features)), cmap="BuPu", vmin=0, vmax=limit,
                interpolation="nearest")
    axes.set_yticks([len(features) - 0.5, 0.5], ["crop 1", f"crop {len(features)}"], fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(left=False, bottom=False)


def draw_scores(axes, scores: np.ndarray, intervals) -> None:
    edges = SNIPPET * np.arange(len(scores) + 1)
    axes.stairs(scores, edges, color=BLUE, linewidth=1.6, baseline=None, zorder=3)
    for i, (start, stop) in enumerate(intervals):
        axes.axvspan(start, stop, color=RED, alpha=0.16, linewidth=0, label=None if i else "anomalous frames: known for testing only")
    top = np.sort(np.argsort(-scores)[:TOP])
    axes.scatter(edges[top] + SNIPPET / 2, scores[top], s=26, color=RED, zorder=4,
                 label=f"the {TOP} highest stand for the video: their mean meets the video's label")
    axes.set(ylim=(0, max(1.0, 1.05 * float(scores.max()))), xlabel="frame")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=2, frameon=False, fontsize=9, borderaxespad=0)


if __name__ == "__main__":
    main()
