"""The configuration whose tensors have given names and shapes.

Nothing here knows a method: `parameters(config)` is tried on changed configurations. Settings that change which tensors
there are (words, depths, lengths of lists) are found by the names. Those that change sizes are solved for, one after
another, each from sizes that no other unsolved setting changes. What changes neither keeps its default.
"""
from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, NamedTuple

from ...blocks.configuration import Config, alternatives, any_length
from ...errors import InputError
from ...registry import Specification
from ..assumed import text
from .naming import misfits, naming

MOST = 512
"""The largest value that is tried where a size does not grow evenly with a number, and the longest list."""

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


def starts(spec: Specification, given: Mapping[str, Any], kind: str, names: Iterable[str]) -> list[Config]:
    """For every choice of words, the configuration whose names are nearest to a file's; its sizes are the defaults.

    None where the given settings do not make tensors.
    """
    choices = {name: (given[name],) if name in given else words for name, words in _words(spec).items()}
    words = (dict(zip(choices, chosen)) for chosen in product(*choices.values()))
    nearest = (_nearest(spec, chosen, given, kind, dict.fromkeys(names)) for chosen in words)
    return [made for made in nearest if _shapes(spec, changed(made, given))]


@cache
def _words(spec: Specification) -> dict[str, tuple[Any, ...]]:
    """{setting: its values} of the words, truths and numbers that may be None whose values tensors show."""
    found, default = alternatives(spec.Config), spec.Config()
    chosen = [dict(zip(found, values)) for values in product(*found.values())]
    shapes = {tuple(words.values()): _shapes(spec, changed(default, words)) for words in chosen}

    def shows(name: str) -> bool:
        others = ({**words, name: found[name][0]} for words in chosen)
        return any(shapes[tuple(words.values())] != shapes[tuple(other.values())] for words, other in zip(chosen, others))

    return {name: values for name, values in found.items() if shows(name)}


def _nearest(spec: Specification, words: dict[str, Any], given: Mapping[str, Any], kind: str, names: dict[str, None]) -> Config:
    def wrong(settings: Mapping[str, Any]) -> tuple[int, bool]:
        made = _made(spec, settings)
        if not _shapes(spec, made):
            return sys.maxsize, True
        return sum(len(found) for found in misfits(names, naming(spec, made, kind))), not _valid(spec, made)

    settings = words | {name: given[name] for name in naming_settings(spec) if name in given}
    for name in naming_settings(spec):
        least, last = wrong(settings), None
        for value in () if name in given else _growing(getattr(spec.Config(), name)):
            now = wrong(settings | {name: value})
            if last is not None and now >= last:
                break
            last = now
            if now < least:
                least, settings = now, settings | {name: value}
    return _made(spec, settings)


def _growing(default: int | tuple) -> Iterator[int | tuple]:
    """1, 2, 3, ...; or the default's first number, its first two, ... and beyond its end the last one again."""
    for size in range(1, MOST):
        yield size if isinstance(default, int) else (*default, *default[-1:] * size)[:size]


@cache
def naming_settings(spec: Specification) -> tuple[str, ...]:
    """The settings, numbers and lists of any length, that change which tensors there are."""
    default = spec.Config()

    def changes(field: dataclasses.Field) -> bool:
        value = getattr(default, field.name)
        if _whole(value):
            return set(_shapes(spec, _made(spec, {field.name: value - 1})) or sized) != set(sized)
        return any_length(field) and set(_shapes(spec, changed(default, {field.name: value[:-1]})) or sized) != set(sized)

    sized = _shapes(spec, default)
    return tuple(field.name for field in dataclasses.fields(default) if changes(field))


def _made(spec: Specification, settings: Mapping[str, Any]) -> Config:
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


def _shapes(spec: Specification, config: Config) -> dict[str, tuple[int, ...]] | None:
    """{canonical name: shape}; None where a configuration that is not validated has none."""
    try:
        return {name: p.shape for name, p in spec.parameters(config).items()}
    except (ArithmeticError, ValueError, IndexError, TypeError):
        return None


@dataclass(frozen=True)
class Sizing:
    """The sizes of a file's tensors, and what configurations make of them."""
    spec: Specification
    sizes: dict[Place, int]

    def of(self, config: Config) -> dict[Place, int]:
        """The sizes that a configuration gives the tensors that the file has."""
        shapes = _shapes(self.spec, config) or {}
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
    """Solve for the sizes of a file's tensors, {canonical name: shape}. `given` settings stay as they are."""
    sizing = Sizing(spec, {(name, axis): size for name, shape in shapes.items() for axis, size in enumerate(shape)})
    config, by_name = changed(start, given), _by_name(spec, start)
    settled = {*given, *by_name}
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
        if count != len(getattr(_made(spec, by_name), name)):
            unsettled += [f"{name}: {count} numbers, which no tensor shows"]
    return Solution(config, by_default, tuple(unsettled))


def _by_name(spec: Specification, config: Config) -> dict[str, Any]:
    """The words that tensors show, and the numbers that change which tensors there are."""
    words = {name: value for name in _words(spec) if not _whole(value := getattr(config, name))}
    return words | {name: value for name in naming_settings(spec) if not isinstance(value := getattr(config, name), tuple)}


def _settled(spec: Specification, config: Config, group: list[Unknown],
             values: list[tuple[int, ...]]) -> tuple[Config, list[str]]:
    """The first of these values with which a configuration is valid, and all of them in words; all where none is."""
    made = [_put(config, group, numbers) for numbers in values]
    valid = [other for other in made if _valid(spec, other)] or made
    words = [" ".join(f"{u.field}={text(getattr(other, u.field))}" for u in group) for other in valid]
    return valid[0] if valid else config, words


def _put(config: Config, group: list[Unknown], numbers: tuple[int, ...]) -> Config:
    for unknown, number in zip(group, numbers):
        config = unknown.put(config, number)
    return config


def _valid(spec: Specification, config: Config) -> bool:
    try:
        return bool(spec.Config(**vars(config)))
    except InputError:
        return False


def _unknowns(config: Config, settled: set[str]) -> Iterator[Unknown]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in settled:
            continue
        if _whole(value):
            yield Unknown(field.name, None)
        elif isinstance(value, tuple):
            yield from (Unknown(field.name, i) for i, number in enumerate(value) if _whole(number))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


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
