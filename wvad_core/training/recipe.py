"""Recipes: how a paper trains its method on a dataset, as data. What a run chooses is in options.py."""
from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeGuard, cast

from ..blocks.configuration import require
from ..data.draws import BATCHES, DRAWS
from ..data.training_set import CROPS
from ..errors import InputError, nearest

SCHEDULES = ("constant", "step", "multi-step", "cosine")
CHOICES = {"batches": tuple(BATCHES), "draw": tuple(DRAWS), "crops": CROPS, "metric": ("auc", "ap", "average_precision"),
           "optimiser": ("adam", "adamw", "adagrad", "sgd"), "schedule": SCHEDULES}
"""What a recipe's words may be."""
COUNTS = ("segments", "videos", "steps", "schedule_every")
OPTIONAL_COUNTS = ("decay_steps", "evaluate_every", "reload_best_every")
NOT_NEGATIVE = ("weight_decay", "momentum", "decay", "final_rate")


@dataclass(frozen=True)
class Group:
    """Parameters that train by a rate of their own: those whose canonical names begin with `prefix`.

    The rate is multiplied by `decay` every `decay_steps` steps. The group starts after `warm_up` steps: until then
    nothing moves it, its optimiser included. A word as `warm_up` is the method's setting that holds the number.
    """
    prefix: str
    learning_rate: float
    decay: float = 1.0
    decay_steps: int = 1
    warm_up: int | str = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "decay"):
            value = getattr(self, name)
            require(is_number(value) and value >= 0, f"{self.prefix}{name}", value, "a number that is not negative")
        require(is_whole(self.decay_steps) and self.decay_steps >= 1, f"{self.prefix}decay_steps", self.decay_steps,
                "a positive whole number")
        require(isinstance(self.warm_up, str) or is_whole(self.warm_up) and self.warm_up >= 0, f"{self.prefix}warm_up",
                self.warm_up, "a whole number that is not negative")


@dataclass(frozen=True)
class Recipe:
    """How a method is trained, as its authors published it.

    Batches. segments: snippets of a training video. sampling: how it comes to them: "segments" (averaged), "snippets" (at
    most so many are drawn, shorter videos are padded), or another name of data/sampling.py, of the method or of another
    package. batches: "halves", `videos` normal + `videos` abnormal ones, or "items", `videos` in all, of any label. draw: how
    they are drawn (data/draws.py). crops: "random", one of each video, "all", or "each", as a video of its own.
    steps: of each stage.

    Update. optimiser: "adam" (L2 weight decay), "adamw" (decoupled), "adagrad" or "sgd", as optimisers.py has them, with
    learning_rate, betas, eps, momentum, weight_decay. clip_norm: at which the norm of the gradient is clipped, None for never.

    Learning rate. schedule: "constant"; "step", times `decay` every `decay_steps` steps; "multi-step", times `decay` after
    each of the steps `milestones`; "cosine", by half a cosine to `final_rate` in `decay_steps` steps (None: all steps).
    schedule_every: the rate changes only every so many steps, as where it is set once an epoch. warm_up_steps: the rate
    rises linearly over so many steps, to which the schedule is applied. groups: parameters with rates of their own, which
    the schedule changes as well.

    settings: the method's configuration where it is not the default. metric: that of the published result, "auc", "ap"
    (of trapezoids) or "average_precision" (of steps).
    seed: the authors', 0 where they have none. evaluate_every: after how many steps they look at the test set each time and
    keep the best weights, which their result owes something to; None where it is not known. evaluate_after: the steps
    from which on these are counted. reload_best_every: after how many steps each time training goes on from the best weights
    so far, where the optimiser stands as it does, and both are counted anew; None for never.

    Raises InputError for a value that is out of range.
    """
    segments: int
    videos: int
    steps: int
    sampling: str = "segments"
    batches: str = "halves"
    draw: str = "packs"
    crops: str = "random"
    optimiser: str = "adam"
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 5e-5
    clip_norm: float | None = None
    schedule: str = "constant"
    decay: float = 0.1
    decay_steps: int | None = None
    milestones: tuple[int, ...] = ()
    final_rate: float = 0.0
    schedule_every: int = 1
    warm_up_steps: int = 0
    groups: tuple[Group, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "auc"
    seed: int = 0
    evaluate_every: int | None = None
    evaluate_after: int = 0
    reload_best_every: int | None = None

    def __post_init__(self) -> None:
        check_words(self, CHOICES)
        require(isinstance(self.sampling, str), "sampling", self.sampling, "a word")
        check_counts(self, COUNTS, OPTIONAL_COUNTS)
        for name in ("seed", "warm_up_steps", "evaluate_after"):
            check_from_zero(self, name)
        for name, optional in (("learning_rate", False), ("eps", False), ("clip_norm", True)):
            value = getattr(self, name)
            require(value is None and optional or is_number(value) and value > 0, name, value, "a positive number")
        for name in NOT_NEGATIVE:
            value = getattr(self, name)
            require(is_number(value) and value >= 0, name, value, "a number that is not negative")
        require(isinstance(self.betas, tuple) and len(self.betas) == 2 and all(
            is_number(beta) and 0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers from 0 to below 1")
        self._check_schedule()

    def _check_schedule(self) -> None:
        milestones = self.milestones
        require(isinstance(milestones, tuple) and all(is_whole(step) and step >= 1 for step in milestones)
                and list(milestones) == sorted(milestones), "milestones", milestones, "positive whole numbers that rise")
        require(self.schedule != "step" or self.decay_steps is not None, "decay_steps", self.decay_steps,
                "a positive whole number with schedule=step")
        require(self.schedule != "multi-step" or bool(milestones), "milestones", milestones, "steps with schedule=multi-step")

    def validates(self, step: int, every: int) -> bool:
        """Whether a run that validates every so many steps does so behind this one, counted from 1."""
        counted = (step - 1) % (self.reload_best_every or step) + 1 - self.evaluate_after
        return counted > 0 and counted % every == 0

    def grouped(self, names: Iterable[str]) -> list[list[str]]:
        """`names` by group: those of no group first, then those of each group."""
        members: list[list[str]] = [[] for _ in (None, *self.groups)]
        for name in names:
            indices = (i for i, group in enumerate(self.groups, 1) if name.startswith(group.prefix))
            members[next(indices, 0)].append(name)
        return members

    def rates(self, step: int) -> list[float | None]:
        """The learning rates of these lists at a step, counted from 1; None where the group has not begun."""
        return [self.scheduled(self.learning_rate, step)] + [
            None if step <= (start := cast(int, g.warm_up))  # a word is resolved with the method's settings
            else self.scheduled(g.learning_rate * g.decay ** ((step - 1 - start) // g.decay_steps), step)
            for g in self.groups]

    def scheduled(self, rate: float, step: int) -> float:
        """What warm-up and schedule make of a rate at a step, counted from 1."""
        if step < self.warm_up_steps:
            rate *= step / self.warm_up_steps
        taken = (step - 1) // self.schedule_every * self.schedule_every
        if self.schedule == "step":
            return rate * self.decay ** (taken // (self.decay_steps or self.steps))
        if self.schedule == "multi-step":
            return rate * self.decay ** sum(milestone <= taken for milestone in self.milestones)
        if self.schedule == "cosine":
            fallen = min(taken / (self.decay_steps or self.steps), 1)
            return self.final_rate + (rate - self.final_rate) * (1 + math.cos(math.pi * fallen)) / 2
        return rate

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def from_dict(values: Mapping[str, Any], source: str = "recipe") -> Recipe:
    """The recipe that plain data makes: an entry of a method's RECIPES, or what `as_dict` gave, also by way of JSON.

    Whole floats (1e3) are taken where a whole number is asked for. source: whose data it is, for what is raised:
    InputError for a value that is out of range, for a name that no recipe has, and for segments, videos or steps missing.
    """
    check_names(values, Recipe, source)
    missing = [f.name for f in fields(Recipe)[:3] if f.name not in values]
    if missing:
        raise InputError(f"{source}: has no {', '.join(missing)}, expected at least segments, videos and steps")
    for group in values.get("groups", ()):
        check_names(group, Group, f"{source}, groups")
    groups = tuple(Group(**as_fields(group, Group)) for group in values.get("groups", ()))
    return Recipe(**as_fields(values, Recipe) | {"groups": groups, "settings": dict(values.get("settings", {}))})


def check_names(values: Mapping[str, Any], dataclass_type: type, source: str) -> None:
    """Raise InputError for a name that is no field of a dataclass, with those that come near."""
    names = [f.name for f in fields(dataclass_type)]
    for key in values:
        if key not in names:
            raise InputError(f"{source}: has no value {key!r}; did you mean {nearest(key, names)}?")


def as_fields(values: Mapping[str, Any], dataclass_type: type) -> dict[str, Any]:
    """Values of JSON or of the command line as a dataclass has them: tuples for lists, and for whole floats whole numbers."""
    types = {f.name: str(f.type) for f in fields(dataclass_type)}
    return {name: _as_field(value, types[name].startswith(("int", "tuple[int"))) for name, value in values.items()}


def _as_field(value: Any, whole: bool) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_as_field(one, whole) for one in value)
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def check_words(values: Any, choices: Mapping[str, tuple[str, ...]]) -> None:
    for name, words in choices.items():
        require(getattr(values, name) in words, name, getattr(values, name), " or ".join(words))


def check_counts(values: Any, names: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Raise InputError for a field that is no positive whole number. optional: fields that may be None."""
    for name in (*names, *optional):
        value = getattr(values, name)
        require(value is None and name in optional or is_whole(value) and value >= 1, name, value, "a positive whole number")


def check_from_zero(values: Any, name: str) -> None:
    value = getattr(values, name)
    require(is_whole(value) and value >= 0, name, value, "a whole number that is not negative")


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
