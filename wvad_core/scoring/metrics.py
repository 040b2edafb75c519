"""Frame-level metrics of anomaly detection, computed from snippets instead of repeated frames.

All frames of a snippet have one anomaly score. A snippet therefore enters as one score, the fraction of its frames
that is abnormal (its label y) and its number of frames (its weight w): positive mass y w, negative mass (1 - y) w.
With TP(t), FP(t) the positive and negative mass whose score is at least t, and P, N the mass in all,

    true-positive rate = recall = TP / P        false-positive rate = FP / N        precision = TP / (TP + FP)

Each curve has one point for each distinct score t, from high to low, after the start (TP, FP) = (0, 0) where
recall is 0 and precision is 1 by definition. Every result is scikit-learn's on the repeated frames. Whole
frames add up without rounding in float64, so that AUC is exact but for its last division (while P N < 2^52).

Arguments shared by the functions below:
    labels   (n,) in [0, 1]: fraction of the snippet's frames that is abnormal; 0 or 1 where snippets are frames.
    scores   (n,) finite: anomaly scores, higher is more abnormal. Curves and areas use their order and ties only.
    weights  (n,) >= 0: frames in the snippet; 1 each when None. A snippet of weight 0 counts as absent.

Bad input raises InputError: shapes that disagree, no snippet or no frame, NaN or infinity, a value out of range.
A metric that the classes present leave undefined is NaN, not an error; `undefined_reason` says why in words.
A subset of videos or categories is a mask: roc_auc(labels[mask], scores[mask], weights[mask]).

Sources: Fawcett, An introduction to ROC analysis, 2006; Davis and Goadrich, The relationship between
precision-recall and ROC curves, ICML 2006; Efron and Tibshirani, An introduction to the bootstrap, 1993, ch. 13.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InputError


def roc_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the ROC curve: Pr(abnormal frame scores above normal frame) + 1/2 Pr(both score the same).

    NaN unless both classes occur. Equals sklearn.metrics.roc_auc_score.
    """
    true_positives, false_positives, _ = _confusion(labels, scores, weights)
    return _roc_area(true_positives, false_positives)


def pr_auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Area under the precision-recall curve by the trapezoidal rule: AP as the field publishes it.

    sum_i (recall_i - recall_{i-1}) (precision_i + precision_{i-1}) / 2, which is sklearn.metrics.auc over
    precision_recall_curve. Straight lines between the points are optimistic (Davis and Goadrich), and the value is
    not `average_precision`; yet the published tables hold this one. NaN without an abnormal frame.
    """
    true_positives, false_positives, _ = _confusion(labels, scores, weights)
    return _pr_area(true_positives, false_positives)


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Average precision by the step rule: sum_i (recall_i - recall_{i-1}) precision_i.

    NaN without an abnormal frame. Equals sklearn.metrics.average_precision_score.
    """
    true_positives, false_positives, _ = _confusion(labels, scores, weights)
    if true_positives[-1] == 0:
        return np.nan
    steps = np.diff(true_positives) * _precision(true_positives, false_positives)[1:]
    return float(steps.sum() / true_positives[-1])


def roc_curve(labels: ArrayLike, scores: ArrayLike,
              weights: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(false_positive_rate, true_positive_rate, thresholds), each (k + 1,) for k distinct scores.

    Thresholds fall; the first is infinity, at the point (0, 0). The rate of a class that does not occur is NaN.
    Equals sklearn.metrics.roc_curve(drop_intermediate=False).
    """
    true_positives, false_positives, thresholds = _confusion(labels, scores, weights)
    return _rate(false_positives), _rate(true_positives), thresholds


def precision_recall_curve(labels: ArrayLike, scores: ArrayLike,
                           weights: ArrayLike | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(precision (k + 1,), recall (k + 1,), thresholds (k,)) for k distinct scores.

    Thresholds rise. The last point is precision 1 at recall 0 and has no threshold.
    Equals sklearn.metrics.precision_recall_curve, save that recall is NaN, not 1, without an abnormal frame.
    """
    true_positives, false_positives, thresholds = _confusion(labels, scores, weights)
    precision = _precision(true_positives, false_positives)
    return precision[::-1], _rate(true_positives)[::-1], thresholds[:0:-1]


def false_alarm_rate(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None,
                     threshold: float = 0.5) -> float:
    """Fraction of the normal frames whose score is above `threshold`. NaN without a normal frame."""
    labels, scores, weights = _snippets(labels, scores, weights)
    _, negative = _masses(labels, weights)
    return float(negative[scores > threshold].sum() / negative.sum()) if negative.any() else np.nan


def video_accuracy(video_labels: ArrayLike, max_scores: ArrayLike, threshold: float = 0.5) -> float:
    """Fraction of the videos told right: (highest score of the video > threshold) == label.

    video_labels (V,): 0 normal, 1 abnormal. max_scores (V,): the highest anomaly score in each video.
    """
    video_labels, max_scores = _vectors(video_labels=video_labels, max_scores=max_scores)
    _require(np.isin(video_labels, (0, 1)), "video_labels", video_labels, "0 or 1")
    return float(np.mean((max_scores > threshold) == (video_labels == 1)))


def undefined_reason(labels: ArrayLike, weights: ArrayLike | None = None) -> str | None:
    """Why a metric of these snippets is NaN, in words for a report; None when all are defined."""
    labels, _, weights = _snippets(labels, labels, weights)  # scores play no part; any vector will do
    positive, negative = _masses(labels, weights)
    if not positive.any():
        return "no abnormal frame: AUC, AP and average precision are undefined"
    if not negative.any():
        return "no normal frame: AUC and false-alarm rate are undefined"
    return None


def misranked_fraction(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> np.ndarray:
    """(n,): with which fraction of the frames of the other class each snippet's frames are in the wrong order.

    A normal frame is in the wrong order with an abnormal one of a lower score, an abnormal frame with a normal one of a
    higher score, and half with one of the same score. A snippet has the mean over its frames, 0 where it has none. Over
    all abnormal frames, as over all normal ones, the mean is 1 - `roc_auc`. NaN unless both classes occur.
    """
    labels, scores, weights = _snippets(labels, scores, weights)
    true_positives, false_positives, thresholds = _confusion(labels, scores, weights)
    if not (true_positives[-1] and false_positives[-1]):
        return np.full(len(labels), np.nan)
    point = np.minimum(np.searchsorted(-thresholds, -scores), len(thresholds) - 1)  # the curve's point of this score
    above = (_rate(false_positives)[point - 1] + _rate(false_positives)[point]) / 2
    below = 1 - (_rate(true_positives)[point - 1] + _rate(true_positives)[point]) / 2
    return np.where(weights > 0, labels * above + (1 - labels) * below, 0.0)


def bootstrap_intervals(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None, videos: ArrayLike,
                        replicates: int = 1000, seed: int = 0,
                        confidence: float = 0.95) -> dict[str, tuple[float, float]]:
    """{"auc": (low, high), "ap": (low, high)}: percentile intervals of `roc_auc` and `pr_auc` over whole videos.

    They are `percentile_interval`s of `bootstrap`, and take the arguments of both. A replicate in which only one class
    occurs has no AUC and is left out of both intervals; NaN if none is left.
    """
    areas = bootstrap(labels, scores, weights, videos, replicates, seed)
    return {name: percentile_interval(values, confidence) for name, values in areas.items()}


def bootstrap(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None, videos: ArrayLike,
              replicates: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """{"auc": (R,), "ap": (R,)}: `roc_auc` and `pr_auc` of R replicates, each of V of the V videos with replacement.

    Frames of one video are not independent, so a replicate takes all snippets of the videos that it draws. A draw is
    np.random.default_rng(seed).integers(V, size=V) into the sorted distinct `videos`, whatever the scores: with one
    seed, two detectors' scores of the same videos are resampled alike, and their areas are pairs. Both areas are NaN
    in a replicate in which only one class occurs.

    videos      (n,): the video of each snippet, an index or a name.
    replicates  R >= 1.
    """
    labels, scores, weights = _snippets(labels, scores, weights)
    videos = np.asarray(videos)
    if videos.shape != labels.shape:
        raise InputError(f"videos: found shape {videos.shape}, expected {labels.shape}, one for each snippet")
    if replicates < 1:
        raise InputError(f"replicates: found {replicates}, expected >= 1")
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected >= 0")

    # Nothing but the videos' multiplicities changes between replicates: sort once, then weigh and accumulate.
    order = _descending(scores, weights)
    names, video = np.unique(videos[order], return_inverse=True)
    positive, negative = _masses(labels[order], weights[order])
    starts = _bends(positive, _tie_starts(scores[order]))

    random = np.random.default_rng(seed)
    areas = np.empty((replicates, 2))
    for replicate in range(replicates):
        drawn = random.integers(len(names), size=len(names))
        times = np.bincount(drawn, minlength=len(names)).astype(np.float64)[video]
        masses = _accumulate(positive * times, starts), _accumulate(negative * times, starts)
        areas[replicate] = _roc_area(*masses), _pr_area(*masses)
    areas[np.isnan(areas[:, 0])] = np.nan
    return {"auc": areas[:, 0], "ap": areas[:, 1]}


def percentile_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The quantiles (1 - confidence) / 2 and (1 + confidence) / 2 of replicates (R,).

    NaN is left out; both are NaN if none is left. confidence: the mass between the two, in (0, 1).
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence: found {confidence}, expected a number in (0, 1)")
    values = np.asarray(values, np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, ((1 - confidence) / 2, (1 + confidence) / 2)).tolist()
    return low, high


# The core: masses accumulated over falling scores.


def _confusion(labels: ArrayLike, scores: ArrayLike,
               weights: ArrayLike | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(TP, FP, thresholds), each (k + 1,): masses at or above each of k distinct scores, from (0, 0, inf) on."""
    labels, scores, weights = _snippets(labels, scores, weights)
    order = _descending(scores, weights)
    scores = scores[order]
    positive, negative = _masses(labels[order], weights[order])
    starts = _tie_starts(scores)
    return _accumulate(positive, starts), _accumulate(negative, starts), np.append(np.inf, scores[starts])


def _masses(labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(positive, negative), each (n,): the abnormal and the normal frames of each snippet."""
    positive = labels * weights
    return positive, weights - positive  # not (1 - y) w: where y w is whole, the rest is whole too


def _descending(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Indices of the snippets that have frames, highest score first."""
    order = np.argsort(-scores)
    return order[weights[order] > 0]


def _tie_starts(scores: np.ndarray) -> np.ndarray:
    """Index of the first snippet of each distinct score in sorted `scores`: tied snippets make one point."""
    return np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))


def _bends(positive: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """`starts` with each run of groups that hold no positive mass joined into one group.

    Along such a run TP stands still whatever the videos' multiplicities: the ROC curve is level and the
    precision-recall curve upright, so that the points within change neither area.
    """
    grows = np.add.reduceat(positive, starts) > 0
    return starts[grows | np.append(True, grows[:-1])]


def _accumulate(mass: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(k + 1,): 0, then the mass up to the end of each of the k groups that begin at `starts`."""
    return np.append(0.0, np.cumsum(np.add.reduceat(mass, starts)))


def _roc_area(true_positives: np.ndarray, false_positives: np.ndarray) -> float:
    """sum (FP_i - FP_{i-1}) (TP_i + TP_{i-1}) / (2 P N); NaN unless both classes occur."""
    positives, negatives = true_positives[-1], false_positives[-1]
    if positives == 0 or negatives == 0:
        return np.nan
    twice_area = np.diff(false_positives) @ (true_positives[1:] + true_positives[:-1])
    return float(twice_area / (2 * positives * negatives))


def _pr_area(true_positives: np.ndarray, false_positives: np.ndarray) -> float:
    """sum (TP_i - TP_{i-1}) (precision_i + precision_{i-1}) / (2 P); NaN without an abnormal frame."""
    positives = true_positives[-1]
    if positives == 0:
        return np.nan
    precision = _precision(true_positives, false_positives)
    return float(np.diff(true_positives) @ (precision[1:] + precision[:-1]) / (2 * positives))


def _precision(true_positives: np.ndarray, false_positives: np.ndarray) -> np.ndarray:
    """TP / (TP + FP), and 1 where nothing has reached the threshold yet."""
    alarms = true_positives + false_positives
    return np.divide(true_positives, alarms, out=np.ones_like(alarms), where=alarms > 0)


def _rate(mass: np.ndarray) -> np.ndarray:
    """Accumulated mass as a fraction of all of it; NaN where there is none."""
    return mass / mass[-1] if mass[-1] > 0 else np.full_like(mass, np.nan)


# Checking what comes in.


def _snippets(labels: ArrayLike, scores: ArrayLike,
              weights: ArrayLike | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three arguments as checked float64 vectors (n,)."""
    if weights is None:
        labels, scores = _vectors(labels=labels, scores=scores)
        return _snippets(labels, scores, np.ones_like(labels))
    labels, scores, weights = _vectors(labels=labels, scores=scores, weights=weights)
    _require((labels >= 0) & (labels <= 1), "labels", labels, "a fraction in [0, 1]")
    _require(weights >= 0, "weights", weights, ">= 0 frames")
    if not weights.any():
        raise InputError("weights: found 0 frames in all, expected at least 1")
    return labels, scores, weights


def _vectors(**values: ArrayLike) -> list[np.ndarray]:
    """`values` as finite float64 vectors of one and the same length >= 1."""
    arrays = {}
    for name, value in values.items():
        try:
            arrays[name] = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{name}: found other things than numbers, expected a vector") from None
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or any(len(shape) != 1 or shape[0] == 0 for shape in shapes):
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InputError(f"found shapes {found}, expected vectors of one length, at least 1")
    for name, array in arrays.items():
        _require(np.isfinite(array), name, array, "a finite number")
    return list(arrays.values())


def _require(good: np.ndarray, name: str, values: np.ndarray, expected: str) -> None:
    """Raise InputError with the first of `values` that is not good."""
    if not good.all():
        index = int(np.argmin(good))
        raise InputError(f"{name}[{index}]: found {values[index]}, expected {expected}")
