"""What is tried, and what became of it.

A case is (kind, seed). A kind is a function that `kind` registers: it makes the hostile input of a seed in a folder of its
own, and says what is done with it and which result is right. The same case makes the same input everywhere.
"""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

RIGHT, REFUSED = "right", "refused"
OUTCOMES = (RIGHT, REFUSED)
"""What may become of a case."""
FAULTS = ("crash", "hang", "over 1 GB", "traceback", "message", "other result", "wrongly refused", "files")
"""What may not. message: not one line; files: written, changed or removed where nothing may be."""


@dataclass(frozen=True)
class Trial:
    """What is done with an input, and what is right.

    act: reads it; gives the result, or raises an InputError or a Failure. right: whether a result is the right one; None
    where the input must be refused. refusable: whether a refusal is as good. output: a folder that may be written into.
    """
    act: Callable[[], Any]
    right: Callable[[Any], bool] | None = None
    refusable: bool = True
    output: Path | None = None


Kind = Callable[[Random, Path], Trial]
KINDS: dict[str, Kind] = {}
"""{name: the function}, as registered. A name is "group, ..., damage"."""
WEIGHTS: dict[str, float] = {}
"""How many cases a kind gets, beside the others."""


def kind(name: str, weight: float = 1) -> Callable[[Kind], Kind]:
    """Register a function under a name."""
    def registered(function: Kind) -> Kind:
        assert name not in KINDS, name
        KINDS[name], WEIGHTS[name] = function, weight
        return function

    return registered


def cases(count: int, seed: int, kinds: Collection[str]) -> list[tuple[str, int]]:
    """So many cases, spread over kinds by their weights, at least one of each; seeds that no other seed's cases have."""
    total = sum(WEIGHTS[name] for name in kinds)
    rows = [(name, max(1, round(count * WEIGHTS[name] / total))) for name in kinds]
    return [(name, 1_000_000 * seed + number) for name, many in rows for number in range(many)]


def equals(expected: Any) -> Callable[[Any], bool]:
    """Whether a result is this one, in every bit: values, dtypes and shapes."""
    wanted = fingerprint(expected)
    return lambda found: fingerprint(found) == wanted


def fingerprint(value: Any) -> Any:
    """What two equal results have alike, and no others."""
    if isinstance(value, np.ndarray):
        return "array", str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
    if isinstance(value, Mapping):
        return "mapping", frozenset((key, fingerprint(of)) for key, of in value.items())
    if dataclasses.is_dataclass(value):
        return tuple(fingerprint(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, (list, tuple)):
        return tuple(map(fingerprint, value))
    return repr(value)


def flaw_of_message(text: str) -> str | None:
    """What is wrong with a message for people: one line, or one and a list of videos below it, of characters that are shown."""
    first, *rest = text.split("\n")
    if not first.strip() or not all(line.startswith("  ") for line in rest):
        return f"not one line: {text[:300]!r}"
    if not all(line.isprintable() for line in (first, *rest)):
        return f"characters that move a cursor: {text[:300]!r}"
    return f"{len(text)} characters: {text[:300]!r}" if max(map(len, (first, *rest))) > 2000 else None
