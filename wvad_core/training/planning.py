"""What a run trains on what, by which recipe: all that `recipe.json` holds."""
from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..backend import training_backend
from ..blocks.configuration import Config, configure
from ..checkpoints.identification.sizes import shown_by_companions
from ..data import Dataset, bundled_tables, companions_sha256, demo, find_sampler
from ..data.companions import read_companions
from ..data.demo import DEMO
from ..data.demo_scenes import FEATURE_DIM
from ..errors import InputError, one_line
from ..files import plain
from ..registry import specification
from .initial import Initial, brought, initial_weights
from .options import Options
from .overrides import Resolved, resolve
from .recipe import Recipe, from_dict
from .run_files import PLAN, STATE, check_places, read_json


@dataclass(frozen=True)
class Plan:
    """What is trained on what.

    recipe: its settings are the whole configuration. options: nothing is left open in them. recipe_of: the dataset that the
    recipe was published for. overrides: what was given in place of the recipe's, the options' and the settings' values.
    initial: what the first weights are, of a run that fine-tunes a checkpoint; else None.
    companions: {name: .npy file} of the training set's that were given; companions_sha256: of the values of all, None without any.
    """
    method: str
    dataset: str
    features: str | None
    backend: str
    device: str
    recipe: Recipe
    options: Options
    recipe_of: str
    overrides: Mapping[str, Any]
    initial: Initial | None = None
    companions: Mapping[str, str] = field(default_factory=dict)
    companions_sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON has it, with the paths in it absolute: it is read again from anywhere."""
        dataset = self.dataset if self.dataset.replace("_", "-") in bundled_tables() else absolute(self.dataset)
        values = replace(self, dataset=dataset, features=self.features and absolute(self.features),
                         companions={name: absolute(file) for name, file in self.companions.items()},
                         initial=self.initial and replace(self.initial, file=absolute(self.initial.file)))
        return plain(asdict(values))

    @property
    def config(self) -> Config:
        return configure(specification(self.method).Config, dict(self.recipe.settings), self.method)

    def open(self, split: str) -> Dataset:
        """The dataset's "train" or "test" videos with their features, and to train with, their companions.

        Raises InputError where these do not fit, and for companions that have other values than when the run was planned.
        """
        features = self.features or demo.demo_features(layout=self.config.layout)
        companions = all_companions(self.method, self.features, self.companions) if split == "train" else {}
        dataset = Dataset.open(self.dataset, features, split, feature_dim=self.config.feature_dim, companions=companions)
        dataset.check_crops(self.config)
        if companions and companions_sha256(dataset.companions) != self.companions_sha256:
            raise InputError(f"companions {', '.join(map(str, companions.values()))}: have changed since the run was planned")
        return dataset


def absolute(path: str) -> str:
    """A path that does not hang on the folder that the process is in. Links in it stay."""
    return os.path.abspath(path)


def all_companions(method: str, features: str | Path | None, given: Mapping[str, str]) -> dict[str, str | Path]:
    """The files of the given companions, and of those that the demo set's own features come with."""
    return {**(demo.demo_companions(method) if features is None else {}), **given}


def check_companions(method: str, names: Iterable[str]) -> None:
    """Raise InputError unless these are the companions that a method trains with."""
    wanted, given = specification(method).COMPANIONS, tuple(names)
    if set(wanted) != set(given):
        raise InputError(f"{method} trains with {'companions ' + ', '.join(wanted) if wanted else 'no companions'}, "
                         f"found {', '.join(given) or 'none'}; --companion NAME=FILE.npy gives one")


def recipe_for(method: str, dataset: str) -> str:
    """The dataset whose recipe a method takes where nobody chooses: this one, else the first that it was published with."""
    known = specification(method).RECIPES
    return dataset if dataset in known else next((name for name in known if name != DEMO), dataset)


def plan(method: str, dataset: str, features: str | Path | None = None, backend: str = "torch", device: str = "auto",
         overrides: Mapping[str, Any] | None = None, recipe: str | None = None, init: str | Path | None = None,
         companions: Mapping[str, str | Path] | None = None) -> Plan:
    """Find the recipe of a method and a dataset, or the one published for the dataset `recipe`, and override its values.

    The features' D is the configuration's, unless it is given. init: a checkpoint whose fitting tensors are the first weights.
    companions: {name: .npy file} of arrays that the method trains with.
    Raises InputError where there is no recipe, for an override that is none and a backend that does not train, before any
    file is read; then for features that are not there, and for a checkpoint of which nothing fits.
    """
    spec, overrides, taken = specification(method), dict(overrides or {}), recipe or recipe_for(method, dataset)
    values = spec.RECIPES.get(taken)
    if values is None:
        known = f"expected one of {', '.join(spec.RECIPES)}; --recipe takes one of them on another dataset" if spec.RECIPES else (
            f"nor for any other dataset; expected RECIPES in {spec.module.__name__}")
        raise InputError(f"{method} has no recipe for {taken}, {known}")
    if features is None and dataset != DEMO:
        raise InputError(f"dataset {dataset} needs --features; only {DEMO} has its own")
    resolved = resolve(values, spec.Config, overrides, method)
    find_sampler(resolved.recipe.sampling, spec.SAMPLERS)
    files = {name: str(file) for name, file in (companions or {}).items()}
    every = all_companions(method, features, files)
    check_companions(method, every)
    training_backend(backend)
    arrays, seen = read_companions(every), dict(overrides)
    if not overrides.keys() & {"feature_dim", "config.feature_dim"}:
        seen["feature_dim"] = FEATURE_DIM if features is None else Dataset.open(dataset, features, "train").feature_dim
    resolved = _with_companions(values, spec, seen, arrays)
    brought(arrays, spec.parameters(resolved.config), every)
    sha256 = companions_sha256(arrays)
    made = Plan(method, dataset, None if features is None else str(features), backend, device, resolved.recipe,
                resolved.options, taken, overrides, None, files, sha256)
    if init is None:
        return made
    return replace(made, initial=initial_weights(init, method, made.config, cast(int, resolved.options.seed))[1])


def _with_companions(values: Mapping[str, Any], spec: Any, overrides: dict[str, Any],
                     companions: Mapping[str, np.ndarray]) -> Resolved:
    """What a recipe comes to with some values replaced, and with what the companions show of the settings."""
    resolved = resolve(values, spec.Config, overrides, spec.name)
    known = {"feature_dim": resolved.config.feature_dim}
    shown = {f"config.{name}": value for name, value in shown_by_companions(spec, resolved.config, known, companions).items()
             if not overrides.keys() & {name, f"config.{name}"}}
    return resolve(values, spec.Config, {**overrides, **shown}, spec.name) if shown else resolved


def read_plan(folder: str | Path) -> Plan:
    """The plan of a run folder that has something to go on from. Raises InputError where there is none."""
    path = Path(folder) / PLAN
    check_places(path.parent)
    values = read_json(path)
    try:
        read = Plan(**values | {"recipe": from_dict(values["recipe"]), "options": Options(**values["options"]),
                                "initial": Initial(**values["initial"]) if values.get("initial") else None})
        texts = (read.method, read.dataset, read.features or "", read.backend, read.device, read.recipe_of,
                 read.companions_sha256 or "", *read.companions, *read.companions.values(), read.initial.file if read.initial else "")
        if not all(isinstance(text, str) and "\0" not in text for text in texts) or not isinstance(read.overrides, dict):
            raise InputError("a name that is no text")
        read.config  # noqa: B018, which checks the method and its settings
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: not what a training run writes ({one_line(error)})") from error
    if not (path.parent / STATE).exists():
        raise InputError(f"{folder}: has no {STATE} to go on from, the run was stopped before its first step; "
                         "expected one that was saved, or begin another")
    return read


def going_on(begun_as: Plan, device: str = "auto", dataset: str | Path | None = None,
             features: str | Path | None = None) -> tuple[Plan, Plan]:
    """A plan as it was begun and as it goes on: on another device, with its data in another place."""
    begun_as = begun_as if device == "auto" else replace(begun_as, device=device)
    goes_on = replace(begun_as, dataset=begun_as.dataset if dataset is None else str(dataset),
                      features=begun_as.features if features is None else str(features))
    return begun_as, goes_on


def with_steps(plan: Plan, steps: Any) -> Plan:
    """A plan that takes another number of steps a stage. Raises InputError for what is no number of steps."""
    recipe = from_dict(plan.recipe.as_dict() | {"steps": steps}, f"the recipe of {plan.method}")
    same = recipe.steps == plan.recipe.steps
    return plan if same else replace(plan, recipe=recipe, overrides={**plan.overrides, "steps": recipe.steps})
