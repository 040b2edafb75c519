"""The models that a file without metadata may hold, and what of its tensors does not fit."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from ...blocks.configuration import Config, configure, typed
from ...errors import InputError, listing
from ...registry import Specification, model_specification
from ..assumed import text
from .names import starts
from .naming import CANONICAL, PUBLISHED, misfits, naming, squeezed
from .sizes import Solution, solve
from .trials import naming_settings

Array = np.ndarray
MOST_NUMBERS = 10
"""Of a list among a method's settings, or a depth, where a file has few tensors."""


@dataclass(frozen=True)
class Candidate:
    """A model that a file may hold. wrong: what of its tensors does not fit; nothing, where it fits."""
    method: str
    names: str
    prefix: str
    solution: Solution
    wrong: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        """The method and the settings that are shown and not the default's."""
        default, config = type(self.solution.config)(), self.solution.config
        shown = [f"{f.name}={text(value)}" for f in dataclasses.fields(config)
                 if (value := getattr(config, f.name)) not in (getattr(default, f.name), ())]
        return " ".join([self.method, *shown]) + f" ({self.names} names{f' behind {self.prefix}' if self.prefix else ''})"


def check_plausible(spec: Specification, settings: Mapping[str, Any], tensors: Mapping[str, Array], source: str) -> None:
    """Raise InputError for a depth, or a list, larger than the number of tensors: nothing is built of that."""
    for name in settings:
        value = settings[name]
        size = len(value) if isinstance(value, tuple) else (value or 0) if name in naming_settings(spec) else 0
        if size > max(len(tensors), MOST_NUMBERS):
            raise InputError(f"{source}: setting {name} is {text(value)[:40]}, the file has {len(tensors)} tensors")


def candidates(models: Iterable[tuple[str, Specification]], tensors: Mapping[str, Array], method: str | None,
               given: Mapping[str, Any], source: str) -> Iterator[Candidate]:
    """Every model that has the given settings, under both kinds of names, with the configurations that come nearest.

    method: the model's name, where it is known.
    """
    for name, spec in models:
        if method is None and set(given) - {field.name for field in dataclasses.fields(spec.Config)}:
            continue
        settings = typed(spec.Config, given, name)
        check_plausible(spec, settings, tensors, source)
        if method is not None and not starts(spec, settings, CANONICAL, tensors):
            configure(spec.Config, settings, name)
        for kind, prefix in product((CANONICAL, PUBLISHED), _prefixes(tensors)):
            shapes = {n: np.shape(t) for n, t in without(prefix, tensors).items()}
            for start in starts(spec, settings, kind, shapes):
                yield _candidate(spec, kind, prefix, start, settings, shapes)


def _candidate(spec: Specification, kind: str, prefix: str, start: Config, given: dict[str, Any],
               shapes: Mapping[str, tuple[int, ...]], all_wrong: bool = False) -> Candidate:
    """`start` with its sizes solved for; not where names are wrong, unless all that is wrong is wanted."""
    published = naming(spec, start, kind)
    missing, extra = misfits(shapes, published)
    dropped = tuple(name for name in shapes if published.drops(name))
    wrong = [f"missing tensor {name}{_beside(spec, name)}" for name in missing] + [f"unexpected tensor {n} {shapes[n]}" for n in extra]
    if wrong and not all_wrong:
        return Candidate(spec.name, kind, prefix, Solution(start), tuple(wrong), dropped)
    used = {name: shapes[name] for name in shapes if name in published.names}
    rank = {name: len(p.shape) for name, p in spec.parameters(start).items()}
    known = {published.names[name]: aligned(shape, rank[published.names[name]]) for name, shape in used.items()}
    solution = solve(spec, start, given, known)
    try:
        solution = replace(solution, config=configure(spec.Config, vars(solution.config), spec.name))
        wanted = spec.parameters(solution.config)
        wrong += [f"tensor {name} has shape {shape}, expected {wanted[published.names[name]].shape}"
                  for name, shape in used.items() if squeezed(shape) != squeezed(wanted[published.names[name]].shape)]
    except InputError as error:
        wrong.append(str(error))
    return Candidate(spec.name, kind, prefix, solution, tuple(wrong), dropped)


def _beside(spec: Specification, name: str) -> str:
    """A hint of how a tensor is given that published checkpoints lack."""
    return f", --companion {name}=FILE.npy gives it" if name in getattr(spec, "COMPANIONS", ()) else ""


def aligned(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """A shape without as many axes of length 1 as it takes to have `rank`: (out, in, 1, k) -> (out, in, k).

    Those between go first, from the last but one on, then the last, then the first: (1, in, 1, 1) -> (1, in).
    """
    if len(shape) <= rank:
        return shape
    ones = [axis for axis in (*range(len(shape) - 2, 0, -1), len(shape) - 1, 0) if shape[axis] == 1]
    dropped = ones[:len(shape) - rank]
    return tuple(size for axis, size in enumerate(shape) if axis not in dropped)


def _prefixes(tensors: Mapping[str, Array]) -> list[str]:
    """What all names may have before them, such as "module.": nothing, or the modules that all of them begin with."""
    found = [""]
    while tensors:
        firsts = {name.removeprefix(found[-1]).partition(".")[0] for name in tensors}
        prefix = found[-1] + firsts.pop() + "."
        if firsts or not all(name.startswith(prefix) for name in tensors):
            break
        found.append(prefix)
    return found


def without(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def nothing_fits(tensors: Mapping[str, Array], given: Mapping[str, Any], tried: Sequence[Candidate]) -> str:
    """What the candidate that comes nearest lacks."""
    if not tried:
        return f"no method takes {' '.join(f'{name}={value}' for name, value in given.items())}"
    nearest = min(tried, key=lambda candidate: len(candidate.wrong))
    if sum(wrong.startswith("unexpected") for wrong in nearest.wrong) >= len(tensors):
        more = f" and {len(tensors) - 3} more" if len(tensors) > 3 else ""
        return f"no detector's weights; its tensors are {', '.join(list(tensors)[:3])}{more}"
    shapes = {n: np.shape(t) for n, t in without(nearest.prefix, tensors).items()}
    spec = model_specification(nearest.method)
    settings = typed(spec.Config, given, nearest.method)
    nearest = _candidate(spec, nearest.names, nearest.prefix, nearest.solution.config, settings, shapes, True)
    return f"the tensors fit no detector; what comes nearest is {nearest}\n  {listing(list(nearest.wrong))}"
