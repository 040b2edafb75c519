"""Temporal detection: how well the probabilities of classes find the segments of each class in time.

Of a video of T snippets of 16 frames, the probabilities (T,) of class c, repeated 16 times, make proposals: the maximal
runs of frames above max - 0.6 (max - min) of the column, strictly, so that a column of one value makes none. A proposal's
score is the largest probability in its run, plus 0.7 times the mean of the column's T largest frames (of 16 T: the top
T / 16 snippets, the last one in part). The proposals of all videos, by falling score (equal ones in the order of videos, then
of time), each take the segment of their class and video that none has taken and that they overlap best (intersection over
union of frames; the first of equal ones), where that is at least the threshold: a true positive, else a false one. Then

    AP of a class = sum over its true positives of the precision at their rank / number of its segments
    mAP = mean of AP over all classes, the normal one too; 0 where some class has not one proposal

A class without segments has AP 0 and stays in the mean. This is the evaluation in the published code of Wu et al., AAAI 2024,
arXiv:2308.11681. What that code does besides never acts: it suppresses overlapping proposals, and runs above one threshold are
apart; it drops runs of one frame, and a snippet has 16.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..data.annotations import SNIPPET
from ..errors import InputError

Array = np.ndarray
Segment = tuple[int, int, int]
"""A class's index, its first frame, and the one after its last."""
Proposal = tuple[float, int, int, int]
"""Score, video, first frame, the one after the last."""
IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Thresholds of intersection over union, as these literals: multiples of 0.1 in floating point are others."""
DEPTH, MEAN_WEIGHT = 0.6, 0.7
"""How far below the maximum the threshold of proposals lies, and what the mean counts in their scores."""


def mean_average_precision(probabilities: Sequence[Array], segments: Sequence[Iterable[Segment]]) -> dict[str, float]:
    """{"0.1": mAP at this threshold, ..., "average": their mean}, fractions in [0, 1]. Arguments as of `average_precision`."""
    found = average_precision(probabilities, segments)
    varied = np.any([np.ptp(video, axis=0) > 0 for video in probabilities], axis=0)  # what has a proposal
    means = found.mean(1) if varied.all() else np.zeros(len(IOUS))
    return {str(iou): float(value) for iou, value in zip(IOUS, means)} | {"average": float(means.mean())}


def average_precision(probabilities: Sequence[Array], segments: Sequence[Iterable[Segment]]) -> Array:
    """(I, K): the AP of each class at each of IOUS.

    probabilities: (T, K) of each video. segments: of each video, those of classes outside 0 .. K - 1 are left out; they may
    overlap, and end behind the last frame. Raises InputError where the two disagree.
    """
    widths = {np.shape(video)[1:] for video in probabilities}
    if len(probabilities) != len(segments) or len(widths) != 1 or len(*widths) != 1:
        raise InputError(f"found probabilities of {len(probabilities)} videos, (T, K) with K = {sorted(widths)}, and segments of "
                         f"{len(segments)}, expected as many, and one K")
    columns = [np.asarray(video, np.float64).T for video in probabilities]
    truth = [list(video) for video in segments]
    found = [_class_precision([proposal for index, video in enumerate(columns) for proposal in _proposals(video[c], index)],
                              [[(start, end) for of, start, end in video if of == c] for video in truth])
             for c in range(len(columns[0]))]
    return np.array(found).T


def _proposals(column: Array, video: int) -> list[Proposal]:
    """The proposals of a video's probabilities of a class, (T,), in time."""
    above = column > column.max() - DEPTH * (column.max() - column.min())
    edges = np.flatnonzero(np.diff(above, prepend=False, append=False))
    mean = MEAN_WEIGHT * _top_mean(column)
    return [(float(column[first:last].max()) + mean, video, SNIPPET * int(first), SNIPPET * int(last))
            for first, last in zip(edges[::2], edges[1::2])]


def _top_mean(column: Array) -> float:
    """The mean of the T largest of 16 T frames: each snippet's probability stands for 16 of them. Summed frame by frame, since
    proposals whose scores rounding alone makes unlike are ranked by it."""
    falling = -np.sort(-column)[:len(column) // SNIPPET + 1]
    return float(np.repeat(falling, SNIPPET)[:len(column)].mean())


def _class_precision(proposals: list[Proposal], segments: list[list[tuple[int, int]]]) -> list[float]:
    """The AP of a class at each of IOUS. segments: [start, end) of it in each video."""
    falling = sorted(proposals, key=lambda proposal: -proposal[0])  # stable
    matches = [(rank, video, found) for rank, (_, video, start, end) in enumerate(falling, 1)
               if (found := _matches(start, end, segments[video]))]
    count = sum(map(len, segments))
    return [_precision_at(iou, matches, count) for iou in IOUS]


def _matches(start: int, end: int, segments: list[tuple[int, int]]) -> list[tuple[float, int]]:
    """The overlaps of a proposal with segments, of at least IOUS[0], and their indices: the largest first, of equal ones the first."""
    found = [(_overlap(start, end, *segment), index) for index, segment in enumerate(segments)]
    return sorted((match for match in found if match[0] >= IOUS[0]), key=lambda match: -match[0])


def _precision_at(iou: float, matches: list[tuple[int, int, list[tuple[float, int]]]], count: int) -> float:
    """AP at a threshold. matches: rank, video and `_matches` of the proposals that have any. count: segments."""
    taken: set[tuple[int, int]] = set()
    total = 0.0
    for rank, video, found in matches:
        overlap, index = next((match for match in found if (video, match[1]) not in taken), (0.0, -1))
        if overlap >= iou:
            taken.add((video, index))
            total += len(taken) / rank
    return total / count if count else 0.0


def _overlap(start: int, end: int, other_start: int, other_end: int) -> float:
    """Intersection over union of two segments [start, end)."""
    common = max(0, min(end, other_end) - max(start, other_start))
    return common / (end - start + other_end - other_start - common)
