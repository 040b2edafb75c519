"""The settings that change the sizes of tensors, by the shapes in a file.

A method reads off what it can itself: `infer(shapes)` of its specification. The others are solved for by trying
`parameters(config)` on changed configurations, one after another, each from sizes that no other unsolved setting changes. What
changes neither names nor sizes keeps its default.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...blocks.configuration import Config
from ...registry import Specification
from ..assumed import text
from .trials import changed, is_valid, is_whole, made_of, naming_settings, shapes_of, shown_words

MOST = 512
"""The largest value that is tried where a size does not grow evenly with a number."""

Place = tuple[str, int]     # of a size: tensor, axis
Shapes = Mapping[str, tuple[int, ...]]


class Unknown(NamedTuple):
    """A whole number of a configuration: a setting, or one of the numbers in it."""
    field: str
    index: int | None

    def get(self, config: Config) -> int:
        value = getattr(config, self.field)
        return value if self.index is None else value[self.index]

    def put(self, config: Config, number: int) -> Config:
        value = getattr(config, self.field)
        return changed(config, {self.field: number if self.index is None else
                                (*value[:self.index], number, *value[self.index + 1:])})


@dataclass(frozen=True)
class Solution:
    """config: whose tensors these may be, not validated yet. by_default: the settings that no tensor shows.

    unsettled: settings that the tensors leave open and whose defaults do not fit, with what fits.
    """
    config: Config
    by_default: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sizing:
    """The sizes of a file's tensors, and what configurations make of them."""
    spec: Specification
    sizes: dict[Place, int]

    def of(self, config: Config) -> dict[Place, int]:
        """The sizes that a configuration gives the tensors that the file has."""
        shapes = shapes_of(self.spec, config) or {}
        return {(n, axis): size for n, shape in shapes.items() for axis, size in enumerate(shape) if (n, axis) in self.sizes}

    def changed_by(self, unknown: Unknown, config: Config) -> set[Place]:
        """The sizes that hang on a number: those that change when it is doubled, tripled or one more."""
        value, now, found = unknown.get(config), self.of(config), set()
        for other in (2 * value, 3 * value, value + 1):
            sizes = self.of(unknown.put(config, other))
            found |= {place for place in sizes if sizes[place] != now.get(place, sizes[place])}
        return found

    def fitting(self, config: Config, places: Iterable[Place]) -> int:
        """How many of these sizes are the file's."""
        sizes = self.of(config)
        return sum(sizes.get(place) == self.sizes[place] for place in places)

    def fits(self, config: Config, places: Collection[Place]) -> bool:
        return self.fitting(config, places) == len(places)

    def even(self, unknown: Unknown, config: Config, places: set[Place]) -> int | None:
        """The value of a number that gives most of the file's sizes, in a whole file all, where they grow evenly with it."""
        value = unknown.get(config)
        one, two, three = (self.of(unknown.put(config, factor * value)) for factor in (1, 2, 3))
        growth = {place: two[place] - one[place] for place in places & set(one) & set(two) & set(three)
                  if two[place] - one[place] == three[place] - two[place] != 0}
        found = {value + (self.sizes[place] - one[place]) * value // step for place, step in growth.items()}

        def count(number: int) -> int:
            return self.fitting(unknown.put(config, number), places)

        best = max(sorted(number for number in found if number > 0), key=count, default=None)
        return best if best and count(best) > max(count(best - 1), count(best + 1)) else None

    def values(self, unknown: Unknown, config: Config, places: set[Place]) -> list[int]:
        """The value of a number if it gives the file's sizes; else all values that do."""
        found = unknown.get(config) if self.fits(config, places) else self.even(unknown, config, places)
        return [found] if found else [n for n in range(1, MOST) if self.fits(unknown.put(config, n), places)]


def solve(spec: Specification, start: Config, given: Mapping[str, Any], shapes: Shapes) -> Solution:
    """Solve for the sizes of a file's tensors, {canonical name: shape}. `given` settings, and what the method infers, stay."""
    sizing = Sizing(spec, {(name, axis): size for name, shape in shapes.items() for axis, size in enumerate(shape)})
    known, by_name = {**_inferred(spec, shapes), **given}, _by_name(spec, start)
    config, settled = changed(start, known), {*known, *by_name}
    pending = {u: places for u in _unknowns(config, settled) if (places := sizing.changed_by(u, config))}
    shown, several, unsettled = settled | {u.field for u in pending}, [], []
    while (unknown := next((u for u in pending if _alone(pending, u)), None)) is not None:
        values = sizing.values(unknown, config, _alone(pending, unknown))
        del pending[unknown]
        if values and unknown.get(config) not in values:
            config = unknown.put(config, values[0])
            several += [([unknown], [(value,) for value in values])]
    for group in _groups(pending):
        if sizing.fits(config, set().union(*(pending[u] for u in group))):
            shown -= {u.field for u in group}
        else:
            several += [(group, list(_together(sizing, group, config, pending)))]
            config = _put(config, group, several[-1][1][0]) if several[-1][1] else config
    for group, values in several:
        config, options = _settled(spec, config, group, values)
        if len(options) != 1:
            together = " and ".join(u.field for u in group)
            unsettled += [" or ".join(options) or f"{together}, which tensors show only together"]
    by_default = tuple(f.name for f in dataclasses.fields(config) if f.name not in shown and getattr(config, f.name) != ())
    for name in set(naming_settings(spec)) & set(by_default):
        count = len(getattr(config, name))
        if count != len(getattr(made_of(spec, by_name), name)):
            unsettled += [f"{name}: {count} numbers, which no tensor shows"]
    return Solution(config, by_default, tuple(unsettled))


def shown_by_companions(spec: Specification, config: Config, given: Mapping[str, Any],
                        arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The settings, besides the `given` ones, that a method's companions show among these arrays where they are tensors."""
    wanted = spec.parameters(config)
    shapes = {name: np.shape(arrays[name]) for name in getattr(spec, "COMPANIONS", ()) if name in wanted and name in arrays}
    solved = solve(spec, config, given, shapes).config if shapes else config
    return {name: value for name, value in solved.as_dict().items() if value != getattr(config, name)}


def _inferred(spec: Specification, shapes: Shapes) -> Mapping[str, Any]:
    """What the method itself reads off; nothing where the shapes are not those that it expects."""
    try:
        return spec.infer(shapes)
    except (LookupError, ArithmeticError, ValueError, TypeError):
        return {}


def _by_name(spec: Specification, config: Config) -> dict[str, Any]:
    """The words that tensors show, and the numbers that change which tensors there are."""
    words = {name: value for name in shown_words(spec) if not is_whole(value := getattr(config, name))}
    return words | {name: value for name in naming_settings(spec) if not isinstance(value := getattr(config, name), tuple)}


def _settled(spec: Specification, config: Config, group: list[Unknown],
             values: list[tuple[int, ...]]) -> tuple[Config, list[str]]:
    """The first of these values with which a configuration is valid, and all of them in words; all where none is."""
    made = [_put(config, group, numbers) for numbers in values]
    valid = [other for other in made if is_valid(spec, other)] or made
    words = [" ".join(f"{u.field}={text(getattr(other, u.field))}" for u in group) for other in valid]
    return valid[0] if valid else config, words


def _put(config: Config, group: list[Unknown], numbers: tuple[int, ...]) -> Config:
    for unknown, number in zip(group, numbers):
        config = unknown.put(config, number)
    return config


def _unknowns(config: Config, settled: set[str]) -> Iterator[Unknown]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in settled:
            continue
        if is_whole(value):
            yield Unknown(field.name, None)
        elif isinstance(value, tuple):
            yield from (Unknown(field.name, i) for i, number in enumerate(value) if is_whole(number))


def _alone(pending: Mapping[Unknown, set[Place]], unknown: Unknown) -> set[Place]:
    """The sizes that hang on this number and on no other unsolved one."""
    return pending[unknown].difference(*(places for other, places in pending.items() if other != unknown))


def _groups(pending: Mapping[Unknown, set[Place]]) -> list[list[Unknown]]:
    """Numbers that share sizes."""
    groups: list[list[Unknown]] = []
    for unknown in pending:
        group = next((g for g in groups if any(pending[unknown] & pending[other] for other in g)), None)
        groups.append([unknown]) if group is None else group.append(unknown)
    return groups


def _together(sizing: Sizing, group: list[Unknown], config: Config,
              pending: Mapping[Unknown, set[Place]]) -> Iterator[tuple[int, int]]:
    """The values of two numbers that give the file's sizes together. Of more than two, none are tried."""
    first, *others = group
    most = min(MOST, *(sizing.sizes[place] + 1 for place in pending[first]))
    for number in range(1, most) if len(others) == 1 else ():
        value = sizing.even(others[0], first.put(config, number), pending[others[0]])
        if value and sizing.fits(_put(config, group, (number, value)), pending[first]):
            yield number, value
