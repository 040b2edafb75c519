"""Configurations that are tried on a file, and which of a method's settings its tensors show by their names."""
from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any

from ...blocks.configuration import Config, alternatives, any_length
from ...errors import InputError
from ...registry import Specification


def made_of(spec: Specification, settings: Mapping[str, Any]) -> Config:
    """A configuration; where its settings do not fit together, not validated: others may yet change."""
    try:
        return spec.Config(**settings)
    except InputError:
        return changed(spec.Config(), settings)


def changed(config: Config, settings: Mapping[str, Any]) -> Config:
    """A configuration with other settings, not validated."""
    made = copy.copy(config)
    for name, value in settings.items():
        object.__setattr__(made, name, value)
    return made


def shapes_of(spec: Specification, config: Config) -> dict[str, tuple[int, ...]] | None:
    """{canonical name: shape}; None where a configuration that is not validated has none."""
    try:
        return {name: p.shape for name, p in spec.parameters(config).items()}
    except (ArithmeticError, ValueError, IndexError, TypeError):
        return None


def is_valid(spec: Specification, config: Config) -> bool:
    try:
        return bool(spec.Config(**vars(config)))
    except InputError:
        return False


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@cache
def shown_words(spec: Specification) -> dict[str, tuple[Any, ...]]:
    """{setting: its values} of the words, truths and numbers that may be None whose values tensors show."""
    found, default = alternatives(spec.Config), spec.Config()
    chosen = [dict(zip(found, values)) for values in product(*found.values())]
    shapes = {tuple(words.values()): shapes_of(spec, changed(default, words)) for words in chosen}

    def shows(name: str) -> bool:
        others = ({**words, name: found[name][0]} for words in chosen)
        return any(shapes[tuple(words.values())] != shapes[tuple(other.values())] for words, other in zip(chosen, others))

    return {name: values for name, values in found.items() if shows(name)}


@cache
def naming_settings(spec: Specification) -> tuple[str, ...]:
    """The settings, numbers and lists of any length, that change which tensors there are."""
    default = spec.Config()

    def changes(field: dataclasses.Field) -> bool:
        value = getattr(default, field.name)
        if is_whole(value):
            return set(shapes_of(spec, made_of(spec, {field.name: value - 1})) or sized) != set(sized)
        return any_length(field) and set(shapes_of(spec, changed(default, {field.name: value[:-1]})) or sized) != set(sized)

    sized = shapes_of(spec, default)
    return tuple(field.name for field in dataclasses.fields(default) if changes(field))
