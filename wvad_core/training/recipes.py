"""Recipes: how a method is trained on a dataset, as data."""
from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..blocks.configuration import Config, configure, require
from ..data.draws import BATCHES, DRAWS
from ..data.training_set import CROPS
from ..errors import InputError

CHOICES = {"crops": CROPS, "batches": tuple(BATCHES), "draw": tuple(DRAWS), "select": ("test", "holdout"),
           "metric": ("auc", "ap"), "batch_norm": ("synchronised", "device"), "precision": ("float32", "bf16")}
"""What a recipe's words may be."""
COUNTS = ("segments", "videos", "steps", "evaluate_every", "save_every")
POSITIVE = ("learning_rate", "clip_norm")


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


@dataclass(frozen=True)
class Recipe:
    """How a method is trained: Adam with L2 weight decay on batches of `videos` normal + `videos` abnormal videos.

    steps: of each stage. segments: snippets of a training video. sampling: how it comes to them, "segments" (averaged)
    or "snippets" (at most so many are drawn, shorter videos are padded), or another name of data/sampling.py, of the method
    or of another package. crops: "random", one of each video, "all", or "each", as a video of its own.
    batches: "items" has `videos` in all, of any label, in place of the halves. draw: how they are drawn (data/draws.py).
    clip_norm: at which the norm of the gradient is clipped, None for never.
    groups: parameters with rates of their own. settings: the method's configuration where it is not the default.
    batch_norm: with several devices, statistics over all of them ("synchronised") or each one's own ("device").

    Every `evaluate_every` steps the detector is judged: select "test" by its `metric`, "auc" or "ap", on the test set, as
    published code does; "holdout" by the AUC over videos on a share `holdout` of the training videos, which are then not
    trained on. The best one is kept. After `patience` judgements without a better one a stage ends; None for never.
    Every `save_every` steps all that a later `resume` needs is saved, and the generator of dropout and noise begins anew
    from the seed and the step: another number gives other random numbers.

    precision: of the products in training. compile: let the framework compile the step.
    Raises InputError for a value that is out of range.
    """
    segments: int
    videos: int
    steps: int
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 5e-5
    clip_norm: float | None = None
    seed: int = 0
    crops: str = "random"
    sampling: str = "segments"
    batches: str = "halves"
    draw: str = "packs"
    groups: tuple[Group, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_norm: str = "synchronised"
    select: str = "test"
    metric: str = "auc"
    holdout: float = 0.1
    evaluate_every: int = 100
    save_every: int = 100
    patience: int | None = None
    precision: str = "float32"
    compile: bool = False

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            require(getattr(self, name) in words, name, getattr(self, name), " or ".join(words))
        require(isinstance(self.sampling, str), "sampling", self.sampling, "a word")
        for name in COUNTS:
            require(_whole(getattr(self, name)) and getattr(self, name) >= 1, name, getattr(self, name),
                    "a positive whole number")
        for name in POSITIVE:
            value = getattr(self, name)
            optional = type(self).__dataclass_fields__[name].default is None
            require(value is None and optional or _number(value) and value > 0, name, value, "a positive number")
        require(self.patience is None or _whole(self.patience) and self.patience >= 1, "patience", self.patience,
                "a positive whole number")
        require(_whole(self.seed) and self.seed >= 0, "seed", self.seed, "a whole number that is not negative")
        require(_number(self.weight_decay) and self.weight_decay >= 0, "weight_decay", self.weight_decay,
                "a number that is not negative")
        require(_number(self.holdout) and 0 < self.holdout < 1, "holdout", self.holdout, "a share between 0 and 1")
        require(isinstance(self.compile, bool), "compile", self.compile, "true or false")
        require(isinstance(self.betas, tuple) and len(self.betas) == 2 and all(
            _number(beta) and 0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers from 0 to below 1")

    def grouped(self, names: Iterable[str]) -> list[list[str]]:
        """`names` by group: those of no group first, then those of each group."""
        members: list[list[str]] = [[] for _ in (None, *self.groups)]
        for name in names:
            found = (i for i, group in enumerate(self.groups, 1) if name.startswith(group.prefix))
            members[next(found, 0)].append(name)
        return members

    def rates(self, step: int) -> list[float | None]:
        """The learning rates of these lists at a step, counted from 1; None where the group has not begun."""
        return [self.learning_rate] + [
            None if step <= g.warm_up else g.learning_rate * g.decay ** ((step - 1 - g.warm_up) // g.decay_steps)
            for g in self.groups]

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """The recipe that `as_dict` gave, also by way of JSON."""
    groups = tuple(Group(**group) for group in values["groups"])
    return Recipe(**dict(values) | {"groups": groups, "betas": tuple(values["betas"])})


def resolve(recipe: Recipe, kind: type[Config], overrides: Mapping[str, Any], method: str) -> tuple[Recipe, Config]:
    """A recipe with some of its values replaced, and the configuration that its settings and the others of them make.

    overrides: {name: value} of the recipe's fields, of groups' ("PREFIX.FIELD") and of the method's settings. Where two of
    these have one name, "recipe.NAME" and "config.NAME" tell them apart. A method that needs to know `num_segments`
    trains on `segments`, unless told otherwise.
    Raises InputError for a name that is none of these, with those that come near; for one that is two; and for a value
    that is given under both its names.
    """
    changed, chosen, of_groups = _told_apart(recipe, kind, overrides, method)
    if "num_segments" in (f.name for f in fields(kind)) and "segments" in changed:
        chosen = {"num_segments": changed["segments"]} | chosen
    config = configure(kind, {**recipe.settings, **chosen}, method)
    groups = tuple(_override(group, of_groups, config) for group in recipe.groups)
    return replace(recipe, groups=groups, settings=config.as_dict(),
                   **{key: _as_tuple(value) for key, value in changed.items()}), config


def _told_apart(recipe: Recipe, kind: type[Config], overrides: Mapping[str, Any], method: str) -> list[dict[str, Any]]:
    """The overrides of the recipe's fields, those of the method's settings and those of groups, by their short names."""
    places = (("recipe.", _known(recipe)), ("config.", [f.name for f in fields(kind)]), ("", _known_of_groups(recipe)))
    meanings: dict[str, list[tuple[int, str]]] = {}
    for place, (prefix, names) in enumerate(places):
        for name in names:
            for key in dict.fromkeys((name, prefix + name)):
                meanings.setdefault(key, []).append((place, name))
    found: list[dict[str, Any]] = [{} for _ in places]
    for key, value in overrides.items():
        if key not in meanings:
            short = sorted({name for _, names in places for name in names})
            near = difflib.get_close_matches(key, short, cutoff=0.5) or short
            raise InputError(f"{method} and its recipe have no value {key!r}; did you mean {', '.join(near)}?")
        (place, name), *others = meanings[key]
        if others:
            raise InputError(f"{key} is a value of the recipe and a setting of {method}, expected recipe.{key} or config.{key}")
        if name in found[place]:
            raise InputError(f"{name} and {places[place][0]}{name} are one value, expected one of them")
        found[place][name] = value
    return found


def parse(words: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE words as overrides; a value is JSON (1e-3, true, null, [2, 4]), numbers with commas between, or a word."""
    overrides: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise InputError(f"{word!r}: expected KEY=VALUE")
        if key in overrides:
            raise InputError(f"{key} is given twice, expected one value")
        overrides[key] = _parsed(value)
    return overrides


def _parsed(value: str) -> Any:
    for text in (value, f"[{value}]") if value else ():
        try:
            return json.loads(text)
        except ValueError:
            continue
    return None if value.lower() == "none" else value


def _known(recipe: Recipe) -> list[str]:
    return [f.name for f in fields(recipe) if f.name not in ("groups", "settings")]


def _known_of_groups(recipe: Recipe) -> list[str]:
    return [f"{group.prefix}{f.name}" for group in recipe.groups for f in fields(group)[1:]]


def _override(group: Group, overrides: Mapping[str, Any], config: Config) -> Group:
    changed = {f.name: overrides[key] for f in fields(group)[1:] if (key := f"{group.prefix}{f.name}") in overrides}
    for name, value in changed.items():
        require(_number(value) and value >= 0, f"{group.prefix}{name}", value, "a number that is not negative")
    group = replace(group, **changed)
    require(group.decay_steps >= 1, f"{group.prefix}decay_steps", group.decay_steps, "a positive whole number")
    return replace(group, warm_up=getattr(config, group.warm_up)) if isinstance(group.warm_up, str) else group


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
