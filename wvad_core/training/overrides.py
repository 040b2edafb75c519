"""KEY=VALUE words: values that take the place of a recipe's, its groups', the options' and the method's settings."""
from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..blocks.configuration import Config, configure
from ..errors import InputError, nearest
from .options import Options
from .recipe import Group, Recipe, as_fields, from_dict


@dataclass(frozen=True)
class Resolved:
    """All that decides a training: the recipe, whose settings are the whole configuration, the options, in which nothing is
    left open, and the configuration."""
    recipe: Recipe
    options: Options
    config: Config


def resolve(values: Mapping[str, Any], config_class: type[Config], overrides: Mapping[str, Any], method: str) -> Resolved:
    """What plain data of a recipe comes to with some values replaced.

    values: an entry of a method's RECIPES, or {}. config_class: the method's Config.
    overrides: {name: value} of the recipe's fields, of the options', of groups' ("PREFIX.FIELD") and of the method's
    settings. Where a recipe's or an option's name is a setting's too, "recipe.NAME", "options.NAME" and "config.NAME" tell
    them apart. A method that needs to know `num_segments` trains on `segments`, unless told otherwise.
    Raises InputError for a name that is none of these, with those that come near; for one that is two; for a value that is
    given under both its names; and for one that is out of range.
    """
    changed, chosen, set_, of_groups = _told_apart(values, config_class, overrides, method)
    if "num_segments" in (f.name for f in fields(config_class)) and "segments" in changed:
        set_ = {"num_segments": changed["segments"]} | set_
    recipe = from_dict({**values, **changed} | {"groups": _groups(values, of_groups)}, f"the recipe of {method}")
    config = configure(config_class, {**recipe.settings, **set_}, method)
    groups = tuple(replace(group, warm_up=getattr(config, group.warm_up)) if isinstance(group.warm_up, str) else group
                   for group in recipe.groups)
    recipe = replace(recipe, groups=groups, settings=config.as_dict())
    return Resolved(recipe, Options(**as_fields(chosen, Options)).of(recipe), config)


def _groups(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recipe's groups, as plain data, with the values of theirs among the overrides."""
    return [{**group, **{f.name: overrides[key] for f in fields(Group)[1:]
                         if (key := f"{group['prefix']}{f.name}") in overrides}} for group in values.get("groups", ())]


def _told_apart(values: Mapping[str, Any], config_class: type[Config], overrides: Mapping[str, Any],
                method: str) -> list[dict[str, Any]]:
    """The overrides of the recipe's fields, of options, of the method's settings and of groups, by their short names."""
    options = [f.name for f in fields(Options)]
    recipe = [f.name for f in fields(Recipe) if f.name not in ("groups", "settings", *options)]
    grouped = [f"{group['prefix']}{f.name}" for group in values.get("groups", ()) for f in fields(Group)[1:]]
    places = (("recipe.", recipe), ("options.", options), ("config.", [f.name for f in fields(config_class)]), ("", grouped))
    meanings: dict[str, list[tuple[int, str]]] = {}
    for place, (prefix, names) in enumerate(places):
        for name in names:
            for key in dict.fromkeys((name, prefix + name)):
                meanings.setdefault(key, []).append((place, name))
    apart: list[dict[str, Any]] = [{} for _ in places]
    for key, value in overrides.items():
        if key not in meanings:
            short = sorted({name for _, names in places for name in names})
            raise InputError(f"{method} and its recipe have no value {key!r}; did you mean {nearest(key, short)}?")
        (place, name), *others = meanings[key]
        if others:
            whose = ("a value of the recipe", "an option")[place], places[place][0] + key
            raise InputError(f"{key} is {whose[0]} and a setting of {method}, expected {whose[1]} or config.{key}")
        if name in apart[place]:
            raise InputError(f"{name} and {places[place][0]}{name} are one value, expected one of them")
        apart[place][name] = value
    return apart


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
        except (ValueError, RecursionError):
            continue
    return None if value.lower() == "none" else value
