"""How near features of a video are to others of it, and in what they differ: numbers from both arrays alone.

Distances are in units of the distance between two snippets of the own features that are 80 frames apart: what the network
makes of 80 frames more of the same video.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

Array = np.ndarray
SHIFTS = 5
"""Snippets, in both directions, over which the best agreement is looked for."""
APART = 5
"""Snippets of 16 frames: the 80 frames of the unit."""
AGREES = 0.9
"""Correlation from which on a shift counts."""
MOST_CROPS = 12
"""That an assignment is looked for among; of more crops the first ones count."""


@dataclass(frozen=True)
class Likeness:
    """Own features of a video, (N, T, D), beside given ones.

    snippets, crops, dims: T, N and D, the own and the given. Of features of another D there is nothing else.
    shift: own snippet t agrees best with the given t + shift. order: the own crop that each given crop agrees best with.
    scale: the given norm over the own one, the median over snippets. cosine, cosine_low: of snippets, the median and the 5 %
    quantile. distance: the median distance of snippets, in the unit above; last: that of the last snippet.
    causes: what the difference comes from, in words, the most likely first.
    """
    name: str
    snippets: tuple[int, int]
    crops: tuple[int, int]
    dims: tuple[int, int]
    shift: int = 0
    order: tuple[int, ...] = ()
    scale: float = 1.0
    cosine: float = 1.0
    cosine_low: float = 1.0
    distance: float = 0.0
    last: float = 0.0
    causes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """A line of numbers, and one for each cause."""
        (own, given), (crops, others), (dim, other) = self.snippets, self.crops, self.dims
        line = f"{self.name}: T {own} and {given}, crops {crops} and {others}, D {dim} and {other}"
        if dim == other:
            order = "in order" if self.order == tuple(range(len(self.order))) else "as own " + " ".join(map(str, self.order))
            line += (f"; cosine {self.cosine:.4f} (5 %: {self.cosine_low:.4f}), distance {self.distance:.3g}, "
                     f"shift {self.shift}, crops {order}, scale {self.scale:.4g}")
        return "\n  ".join([line, *self.causes])


def measure(name: str, own: Array, given: Array) -> Likeness:
    """How near given features (M, T', D') are to own ones (N, T, D), in everything but the causes."""
    found = Likeness(name, (own.shape[1], given.shape[1]), (len(own), len(given)), (own.shape[2], given.shape[2]))
    if own.shape[2] != given.shape[2]:
        return found
    own, given = own[:MOST_CROPS].astype(np.float64), given[:MOST_CROPS].astype(np.float64)
    shift = _best_shift(own.mean(0), given.mean(0))
    ours, theirs = overlapping(own, given, shift)
    order = assignment(np.stack([[np.linalg.norm(other - one, axis=1).mean() for one in ours] for other in theirs]))
    pairs = [(ours[n], other) for n, other in zip(order, theirs) if n >= 0]
    ours, theirs = np.stack([one for one, _ in pairs]), np.stack([other for _, other in pairs])
    norms, others = np.linalg.norm(ours, axis=2), np.linalg.norm(theirs, axis=2)
    cosines = ((ours * theirs).sum(2) / np.maximum(norms * others, 1e-30)).mean(0)
    distances = np.linalg.norm(ours - theirs, axis=2).mean(0) / unit(own)
    return replace(found, shift=shift, order=tuple(order), scale=float(np.median(others / np.maximum(norms, 1e-30))),
                   cosine=float(np.median(cosines)), cosine_low=float(np.quantile(cosines, 0.05)),
                   distance=float(np.median(distances)), last=float(distances[-1]))


def unit(own: Array) -> float:
    """The median distance of two snippets 80 frames apart, or as far as there are; of a single one a tenth of its norm."""
    apart = min(APART, own.shape[1] - 1)
    steps = np.linalg.norm(own[:, apart:] - own[:, :-apart], axis=2) if apart else np.linalg.norm(own, axis=2) / 10
    return max(float(np.median(steps)), 1e-12)


def overlapping(own: Array, given: Array, shift: int) -> tuple[Array, Array]:
    """The own snippets t and the given ones t + shift, for all t that both have: (N, t, D), (M, t, D)."""
    first, end = max(0, -shift), min(own.shape[-2], given.shape[-2] - shift)
    return own[..., first:end, :], given[..., first + shift:end + shift, :]


def _best_shift(own: Array, given: Array) -> int:
    """(T, D) each. 0 unless another one agrees clearly better, and well; at least half of the snippets overlap."""
    least = max(1, min(len(own), len(given)) // 2)
    values = {}
    for shift in sorted(range(-SHIFTS, SHIFTS + 1), key=abs):
        ours, theirs = overlapping(own, given, shift)
        if len(ours) >= least and (shift == 0 or len(ours) > 1):
            values[shift] = _correlation(ours - own.mean(0), theirs - given.mean(0))
    best = max(values, key=lambda shift: values[shift], default=0)
    return best if values.get(best, 0) > max(AGREES, values.get(0, 0) + 0.05) else 0


def _correlation(one: Array, other: Array) -> float:
    size = np.linalg.norm(one) * np.linalg.norm(other)
    return float((one * other).sum() / size) if size > 1e-12 else 0.0


def assignment(costs: Array) -> list[int]:
    """For each row the column that it is assigned, each column once, so that the costs' sum is least; -1 for rows without one."""
    rows, columns = costs.shape
    if rows > columns:
        turned = assignment(costs.T)
        return [turned.index(row) if row in turned else -1 for row in range(rows)]
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for row in costs:
        after: dict[int, tuple[float, list[int]]] = {}
        for taken, (total, picks) in best.items():
            for column in range(columns):
                key, value = taken | 1 << column, total + float(row[column])
                if not taken >> column & 1 and (key not in after or value < after[key][0]):
                    after[key] = value, [*picks, column]
        best = after
    return min(best.values())[1]


def tail_causes(found: Likeness, frames: int | None, tail: str, counts: Sequence[tuple[str, int]]) -> list[str]:
    """What the numbers of snippets, or the last one alone, say. counts: (rule of a recipe's tail, T by it)."""
    own, given = found.snippets
    if given == own:
        sole = found.last > 10 * max(found.distance, 0.01)
        return [f"tail rule: the last snippet alone differs (distance {found.last:.3g}), its missing frames are filled otherwise"
                ] if sole and own > 2 else []
    rules = [rule for rule, count in counts if count == given and rule != tail]
    if rules:
        return [f"tail rule: {given} snippets, as {' or '.join(rules)} makes of {frames} frames, not {tail}"]
    return [f"other frames: {given} snippets for {own}, {given / own:.3f} times as many; another frame rate, or another cut"]
