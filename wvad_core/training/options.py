"""Options: what a run chooses for itself, whatever the recipe says."""
from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

from ..blocks.configuration import require
from .recipe import Recipe, check_counts, check_from_zero, check_words, is_number, is_whole

CHOICES = {"select": ("test", "holdout"), "precision": ("float32", "bf16"), "batch_norm": ("synchronised", "device")}
"""What an option's words may be."""
PUBLISHED = "published"
EVALUATE_EVERY = 100
MOST_VALIDATIONS = 20
"""That are made where nobody has said how many."""


@dataclass(frozen=True)
class Options:
    """What a run chooses: random numbers, selection, saving, and how the step is computed.

    seed: of fresh weights, batches, dropout and noise; None for the recipe's.

    Every `evaluate_every` steps the detector is validated, and the best one is kept: select "test", by the recipe's metric
    on the test set, as published code does; "holdout", by the AUC over videos on a share `holdout` of the training videos,
    which are then not trained on. evaluate_every "published": as often as the recipe's authors; None: likewise, unless that
    is not known, or makes more than 20 validations and training never goes back to the best: then every 100 steps. After
    `patience` validations without a better one a stage ends; None for never.

    Every `save_every` steps all that resuming needs is saved, and the generator of dropout and noise begins anew from the
    seed and the step: another number gives other random numbers.

    precision: of the products, "float32" or "bf16". compile: let the framework compile the step. batch_norm: with several
    devices, statistics over all of them ("synchronised") or each one's own ("device").

    Raises InputError for a value that is out of range.
    """
    seed: int | None = None
    select: str = "test"
    holdout: float = 0.1
    evaluate_every: int | str | None = None
    patience: int | None = None
    save_every: int = 100
    precision: str = "float32"
    compile: bool = False
    batch_norm: str = "synchronised"

    def __post_init__(self) -> None:
        check_words(self, CHOICES)
        check_counts(self, ("save_every",), ("patience",))
        if self.seed is not None:
            check_from_zero(self, "seed")
        every = self.evaluate_every
        require(every in (None, PUBLISHED) or is_whole(every) and every >= 1, "evaluate_every", every,
                f"a positive whole number or {PUBLISHED}")
        require(is_number(self.holdout) and 0 < self.holdout < 1, "holdout", self.holdout, "a share between 0 and 1")
        require(isinstance(self.compile, bool), "compile", self.compile, "true or false")

    def of(self, recipe: Recipe) -> Options:
        """The options with the recipe's values where they leave one to it: then `seed` and `evaluate_every` are numbers.

        Raises InputError where the authors' interval of validation is asked for and not known.
        """
        every = self.evaluate_every
        if every == PUBLISHED:
            require(recipe.evaluate_every is not None, "evaluate_every", every,
                    "a positive whole number, since the recipe does not say how often its authors validated")
            every = recipe.evaluate_every
        elif every is None:
            published = recipe.evaluate_every
            taken = published is not None and (recipe.reload_best_every or recipe.steps <= MOST_VALIDATIONS * published)
            every = published if taken else EVALUATE_EVERY
        return replace(self, seed=recipe.seed if self.seed is None else self.seed, evaluate_every=every)

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)
