"""Why features of a video are not as others of it: what a pipeline may do otherwise, tried on a few snippets.

Each way in which pipelines are known to differ is a change of how a snippet is made. A few snippets are extracted with each
change, and the one that comes near the given features is named; then the next one besides it. EFFECTS has how far each moved
the features of a ResNet-50 on a real clip, in the unit of `comparison`, as a measure of what one may expect.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from ..blocks.clips import SCALES, scaled
from ..errors import InputError
from ..extractor import Extractor
from ..video.cropping import crop
from ..video.opening import open
from ..video.recipe import FILTERS, POSITIONS, SNIPPET, Recipe, recipes
from ..video.resizing import resize
from .comparison import Likeness, tail_causes, unit

Array = np.ndarray
WINDOWS = 3
"""Snippets that are tried, among the first LOOK."""
LOOK = 48
VIDEOS = 3
"""Of many that differ, those that are tried: a pipeline does the same to all."""
ROUNDS = 3
"""Changes that are found one on top of the other."""
EQUAL, NEAR = 0.004, 0.03
"""Distances up to which features are the same but for rounding, and but for decoder, JPEG or filter."""
HELPS, BETTER = 0.9, 0.4
"""A change counts where it leaves at most the first fraction of a distance; all together explain it where they leave the second."""
EFFECTS = {"JPEG": 0.016, "filter": 0.023, "one frame later": 0.047, "BGR": 0.12, "mirrored": 0.18, "resize": 0.40, "crop": 0.55,
           "normalisation": 5.2, "values from 0 to 1 taken for 0 to 255": 18, "values that are not scaled": 1500}
"""{cause: distance}."""


@dataclass(frozen=True)
class Way:
    """How a snippet is made: by the recipe, of frames that are mirrored, of swapped channels, so many frames later; the scale
    of its bytes, after a division by 255 where `unit` is."""
    recipe: Recipe
    scale: str
    unit: bool = False
    mirrored: bool = False
    swapped: bool = False
    later: int = 0


def changes(way: Way, channels: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What may be otherwise: (name, its place in EFFECTS, values of a Way or of its recipe)."""
    for scale in SCALES:
        if scale != way.scale and (scale != "clip" or channels == 3):
            effect = "values that are not scaled" if scale == "raw" else "normalisation"
            yield f"normalisation: scale {scale}, not {way.scale}", effect, {"scale": scale}
    unscaled = "values from 0 to 1 taken for 0 to 255"
    yield f"normalisation: {unscaled}", unscaled, {"unit": True}
    yield "mirrored frames", "mirrored", {"mirrored": not way.mirrored}
    if channels == 3:
        yield "BGR: blue and red swapped", "BGR", {"swapped": not way.swapped}
    yield "one frame later", "one frame later", {"later": 1}
    yield "one frame earlier", "one frame later", {"later": -1}
    for size in dict.fromkeys((*(recipe.resize for recipe in recipes().values()), *_resizes(way.recipe))):
        yield f"resize: {size}, not {way.recipe.resize}", "resize", {"resize": size}
    for name in FILTERS:
        yield f"filter: {name}, not {way.recipe.filter}", "filter", {"filter": name}
    for place in POSITIONS:
        yield f"another crop: {place}, not {way.recipe.crops[0]}", "crop", {"crops": (place,)}


def _resizes(recipe: Recipe) -> list[str]:
    """The same height with the published ratio of the sides, and without it: of recipes of other sizes."""
    side = min(recipe.target or (recipe.crop,))
    return [f"short side {side}", f"{round(side * 340 / 256)}x{side}", f"{side}x{side}", f"{recipe.crop}x{recipe.crop}"]


def explained(found: Likeness, own: Array, given: Array, frames: int | None, source: str | None, recipe: Recipe,
              extractor: Extractor[Any]) -> Likeness:
    """A likeness with its causes. own, given: (N, T, D), (M, T', D'). frames: of the video, where they are known. source: its
    path, of which snippets are extracted again; without it nothing is tried."""
    (dim, other), causes = found.dims, []
    if dim != other:
        return replace(found, causes=(f"another network: D = {other}, not {dim}",))
    if not np.ptp(given, axis=1).max() > 1e-6 * np.abs(given).max() and found.snippets[1] > 1:
        causes.append("constant features: every snippet is the same, as of values from 0 to 1 taken for 0 to 255")
    if found.crops[0] != found.crops[1]:
        causes.append(f"other crops: {found.crops[1]}, not {found.crops[0]}")
    elif found.order != tuple(range(len(found.order))) and found.distance < NEAR:
        causes.append("crop order: the given crops are the own " + " ".join(map(str, found.order)))
    causes += tail_causes(found, frames, recipe.tail, _counts(frames))
    if found.shift:
        causes.append(f"shifted by {found.shift} snippets: frames are counted from another one")
    if found.distance > EQUAL:
        causes += _multiplied(found, own, given) or _tried(found, own, given, source, recipe, extractor)
    return replace(found, causes=tuple(causes) or ("the same",))


def _counts(frames: int | None) -> list[tuple[str, int]]:
    if frames is None:
        return []
    up, down = -(-frames // SNIPPET), frames // SNIPPET
    return [("repeat", max(up, 1)), ("drop", max(down, 1)), ("drop-last", max((frames - 1) // SNIPPET, 1)), ("partial", max(up, 1))]


def _multiplied(found: Likeness, own: Array, given: Array) -> list[str]:
    """Where the directions agree and the lengths alone do not."""
    if found.cosine < 1 - 1e-4 or abs(found.scale - 1) < 0.01:
        return []
    norms = np.linalg.norm(given, axis=2)
    if np.ptp(norms) < 1e-3 * norms.mean():
        return [f"normalised features: each has the norm {norms.mean():.4g}"]
    return [f"features multiplied by {found.scale:.4g}"]


def _tried(found: Likeness, own: Array, given: Array, source: str | None, recipe: Recipe,
           extractor: Extractor[Any]) -> list[str]:
    """The changes that bring extracted snippets near the given ones, or what else their distance says."""
    if found.distance < NEAR:
        said = ["nearly the same: rounding, another decoder, frames through JPEG or another filter"]
    else:
        near = sorted(EFFECTS, key=lambda name: abs(np.log(EFFECTS[name] / found.distance)))[:2]
        what = "other weights, or a difference that is none of those tried" if source else "not tried, as videos before it were"
        said = [f"{what}; of this size are: {', '.join(near)}"]
    end = min(found.snippets[0], found.snippets[1] - found.shift, LOOK)
    windows = _windows(source, end, max(0, -found.shift)) if source else {}
    if not windows:
        return said
    targets = {t: given[:, t + found.shift] for t in windows}
    way = Way(replace(recipe, crops=recipe.crops[:1], mirror="none", tail="repeat"), recipe.scale)
    begun = rest = _distance(way, windows, targets, extractor) / unit(own)
    causes = []
    for _ in range(ROUNDS):
        if rest <= EQUAL:
            break
        trials = list(_trials(way, windows, targets, extractor, unit(own)))
        least, name, effect, better = min(trials, key=lambda trial: trial[0], default=(rest, "", "", way))
        if least > HELPS * rest:
            break
        causes.append(f"{name} (distance {rest:.3g}, with it {least:.3g}; of a ResNet-50 {EFFECTS[effect]:g})")
        way, rest = better, least
    return causes if causes and rest <= BETTER * begun else said


def _trials(way: Way, windows: dict[int, Array], targets: dict[int, Array], extractor: Extractor[Any],
            size: float) -> Iterator[tuple[float, str, str, Way]]:
    """(distance, name, effect, way) of each change of a way that this video and this network can be given."""
    channels = next(iter(windows.values())).shape[-1]
    for name, effect, values in changes(way, channels):
        own = values.keys() <= vars(way).keys()
        try:
            changed = replace(way, **values) if own else replace(way, recipe=replace(way.recipe, **values))
            if changed != way:
                yield _distance(changed, windows, targets, extractor) / size, name, effect, changed
        except InputError:  # frames that are smaller than the crop
            continue


def _windows(source: str, end: int, first: int) -> dict[int, Array]:
    """{t: the frames of snippet t, with one before and one behind, (18, H, W, C)} of a few snippets that have both, or of the
    first, before which its first frame stands."""
    inner = end - 2 >= max(first, 1)
    wanted = sorted({int(t) for t in np.linspace(max(first, 1), end - 2, WINDOWS)}) if inner else [first]
    kept: dict[int, list[Array]] = {t: [] for t in wanted}
    with closing(iter(open(source))) as frames:  # type: ignore[type-var]
        for number, (frame, _) in zip(count(), frames):
            for t in wanted:
                if SNIPPET * t - 1 <= number <= SNIPPET * (t + 1):
                    kept[t].append(frame)
            if not wanted or number >= SNIPPET * (wanted[-1] + 1):
                break
    padded = {t: [*rows[:1] * (t == 0), *rows] for t, rows in kept.items()}
    return {t: np.stack(rows) for t, rows in padded.items()
            if len(rows) == SNIPPET + 2 and len({row.shape for row in rows}) == 1}


def _distance(way: Way, windows: dict[int, Array], targets: dict[int, Array], extractor: Extractor[Any]) -> float:
    """The distance of one crop's features from the given crop that is nearest, the mean over the windows."""
    made = np.stack([extractor.features(_clip(way, frames))[0] for frames in windows.values()])
    return float(min(np.linalg.norm(made - other, axis=1).mean() for other in np.stack(list(targets.values()), 1)))


def _clip(way: Way, window: Array) -> Array:
    """(1, F, H, W, C) in the numbers that the network takes."""
    frames = window[1 + way.later:1 + way.later + SNIPPET]
    frames = frames[:, :, ::-1] if way.mirrored else frames
    frames = frames[..., ::-1] if way.swapped else frames
    side, kept = way.recipe.crop, frames if way.recipe.sampling == "all" else frames[:1]
    clip = np.empty((way.recipe.count, len(kept), side, side, frames.shape[-1]), np.uint8)
    for number, frame in enumerate(np.ascontiguousarray(kept)):
        crop(resize(frame, way.recipe, "frames"), way.recipe, clip[:, number], "frames")
    if not way.unit:
        return scaled(clip, way.scale)
    low, high = (scaled(np.full((1,) * 4 + clip.shape[-1:], value, np.uint8), way.scale) for value in (0, 1))
    return low + (high - low) * (clip.astype(np.float32) / 255)
