"""The settings that change which tensors there are (words, depths, lengths of lists), by the names in a file."""
from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from ...blocks.configuration import Config
from ...registry import Specification
from .naming import misfits, naming
from .trials import changed, is_valid, made_of, naming_settings, shapes_of, shown_words

LONGEST = 512
"""The largest depth and the longest list that are tried."""


def starts(spec: Specification, given: Mapping[str, Any], kind: str, names: Iterable[str]) -> list[Config]:
    """For every choice of words, the configuration whose names are nearest to a file's; its sizes are the defaults.

    None where the given settings do not make tensors.
    """
    choices = {name: (given[name],) if name in given else words for name, words in shown_words(spec).items()}
    words = (dict(zip(choices, chosen)) for chosen in product(*choices.values()))
    nearest = (_nearest(spec, chosen, given, kind, dict.fromkeys(names)) for chosen in words)
    return [made for made in nearest if shapes_of(spec, changed(made, given))]


def _nearest(spec: Specification, words: dict[str, Any], given: Mapping[str, Any], kind: str, names: dict[str, None]) -> Config:
    def wrong(settings: Mapping[str, Any]) -> tuple[int, bool]:
        made = made_of(spec, settings)
        if not shapes_of(spec, made):
            return sys.maxsize, True
        return sum(len(found) for found in misfits(names, naming(spec, made, kind))), not is_valid(spec, made)

    read = _read(spec, names)
    settings = words | read | {name: given[name] for name in naming_settings(spec) if name in given}
    for name in naming_settings(spec):
        least, last = wrong(settings), None
        for value in () if name in given or name in read else _growing(getattr(spec.Config(), name)):
            now = wrong(settings | {name: value})
            if last is not None and now >= last:
                break
            last = now
            if now < least:
                least, settings = now, settings | {name: value}
    return made_of(spec, settings)


def _read(spec: Specification, names: Iterable[str]) -> Mapping[str, Any]:
    """What the method itself reads off names; nothing where they are not those that it expects."""
    try:
        return spec.infer_names(names)
    except (LookupError, ArithmeticError, ValueError, TypeError):
        return {}


def _growing(default: int | tuple) -> Iterator[int | tuple]:
    """1, 2, 3, ...; or the default's first number, its first two, ... and beyond its end the last one again."""
    for size in range(1, LONGEST):
        yield size if isinstance(default, int) else (*default, *default[-1:] * size)[:size]
