"""Which training videos a step takes: named ways of drawing, each a function of the seed and the step alone.

So training may begin at any step, and every process and every framework draws the same. What is drawn from are numbers
of videos (or of single crops, where each is an item), in one group for batches of items, in two, the normal and the
abnormal ones, for batches in halves; `size` of each group a step.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

Array = np.ndarray
BATCHES = {"halves": ("normal training videos", "abnormal training videos"), "items": ("training videos",)}
"""What a batch is made of, and the groups of that."""


def drawn(videos: Array, size: int, step: int, seed: int) -> Array:
    """The `size` videos of one group that a step takes, counted from 0, out of shuffled packs.

    The group is dealt out like packs, one after another and without replacement, each shuffled by the seed and its
    number alone. So any step can be asked for, in any order; a group may have fewer videos than `size`.
    """
    packs, places = np.divmod(np.arange(step * size, (step + 1) * size), len(videos))
    shuffled = {pack: np.random.default_rng([seed, pack]).permutation(videos) for pack in np.unique(packs).tolist()}
    return np.array([shuffled[pack][place] for pack, place in zip(packs.tolist(), places.tolist())])


@dataclass(frozen=True)
class Epochs:
    """Every group from its beginning in each epoch, which has as many steps as its smallest group fills.

    shuffled: anew for each epoch, each group by itself; else in the order that it has.
    rest: whether what is left behind the last whole batch makes a short one; else it is dropped. For one group only.
    """
    shuffled: bool = True
    rest: bool = False

    def __call__(self, groups: Sequence[Array], size: int, step: int, seed: int) -> list[Array]:
        epoch, number = divmod(step, self.steps(groups, size))
        return [self._order(group, epoch, [seed, epoch, place, 1])[number * size:(number + 1) * size]
                for place, group in enumerate(groups)]

    def steps(self, groups: Sequence[Array], size: int) -> int:
        """How many steps an epoch has. Raises InputError where it has none."""
        least = min(map(len, groups))
        if self.rest and len(groups) > 1:
            raise InputError("draw 'epochs-with-rest' is for batches of items: of halves it would leave unequal ones")
        if least < size and not self.rest:
            raise InputError(f"{least} training videos to draw {size} from for each batch, expected at least as many")
        return -(-least // size) if self.rest else least // size

    def _order(self, group: Array, epoch: int, seed: list[int]) -> Array:
        return np.random.default_rng(seed).permutation(group) if self.shuffled else group


def packs(groups: Sequence[Array], size: int, step: int, seed: int) -> list[Array]:
    """Each group out of shuffled packs (see `drawn`): a batch may hold the end of one and the beginning of the next."""
    return [drawn(group, size, step, 2 * seed + place) for place, group in enumerate(groups)]


def afresh(groups: Sequence[Array], size: int, step: int, seed: int) -> list[Array]:
    """From each whole group at every step, without replacement within it: there are no epochs."""
    if (least := min(map(len, groups))) < size:
        raise InputError(f"{least} training videos to draw {size} from for each batch, expected at least as many")
    rngs = (np.random.default_rng([seed, step, place, 2]) for place in range(len(groups)))
    return [rng.permutation(group)[:size] for rng, group in zip(rngs, groups)]


DRAWS: dict[str, Callable[[Sequence[Array], int, int, int], list[Array]]] = {
    "packs": packs, "epochs": Epochs(), "epochs-with-rest": Epochs(rest=True), "file-order": Epochs(shuffled=False),
    "afresh": afresh}
"""{name: (groups, size, step, seed) -> what a step takes of each group}, steps counted from 0."""
