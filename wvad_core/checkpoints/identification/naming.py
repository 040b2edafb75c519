"""The names that tensors have in files: a method's canonical ones, or those of its published checkpoints."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...blocks import tensors
from ...blocks.configuration import Config
from ...errors import InputError, listing
from ...registry import Published, Specification

Array = np.ndarray
CANONICAL, PUBLISHED = "this library's", "published"
BLOCK = 2**18
"""Numbers that are looked at together, in a processor's cache."""


def naming(spec: Specification, config: Config, kind: str) -> Published:
    """The names of one kind, to the canonical ones."""
    if kind == PUBLISHED:
        return spec.published(config)
    return Published({name: name for name in spec.parameters(config)})


def of_other_releases(spec: Specification, state: Mapping[str, Array]) -> Iterator[tuple[str, Mapping[str, Array]]]:
    """Tensors under other names or in other layouts than the published ones, turned into those, by what they are called."""
    for release, function in spec.RELEASES.items():
        if (turned := function(state)) is not None:
            yield release, turned


def canonical(state: Mapping[str, Array], published: Published, wanted: Mapping[str, tensors.Parameter],
              seed: int = 0) -> dict[str, Array]:
    """Rename published tensors; what a release may lack becomes zeros, a part that is not there fresh weights.

    Raises InputError for an unknown name.
    """
    used = {n: v for n, v in state.items() if not published.drops(n)}
    unknown = [f"unexpected tensor {n} {np.shape(v)}" for n, v in used.items() if n not in published.names]
    if unknown:
        raise InputError(f"published checkpoint: {listing(unknown)}")
    absent = {c for n, c in published.names.items() if n in published.optional} | {
        c for c in wanted if c.endswith(tensors.COUNTER)}
    weights = {c: np.zeros(wanted[c].shape, wanted[c].dtype) for c in absent}
    fresh = absent_parts(used, published)
    weights |= tensors.draw({c: p for c, p in wanted.items() if c.startswith(fresh)}, seed)
    for name, value in used.items():
        target, value = published.names[name], np.asarray(value)
        same = squeezed(value.shape) == squeezed(wanted[target].shape)
        weights[target] = value.reshape(wanted[target].shape) if same else value
    return weights


def absent_parts(names: Mapping[str, object], published: Published) -> tuple[str, ...]:
    """The parts that a file with tensors of these names does not hold, where it holds another one."""
    here = [part for part in published.parts if any(published.names.get(n, "").startswith(part) for n in names)]
    return tuple(part for part in published.parts if here and part not in here)


def misfits(names: Mapping[str, object], published: Published) -> tuple[list[str], list[str]]:
    """The names that are missing among a file's, and those that are too many."""
    absent = absent_parts(names, published)
    missing = [n for n, c in published.names.items() if n not in names and n not in published.optional
               and not c.endswith(tensors.COUNTER) and not (absent and c.startswith(absent))]
    return missing, [n for n in names if n not in published.names and not published.drops(n)]


def squeezed(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def check_numbers(weights: Mapping[str, Array], wanted: Mapping[str, tensors.Parameter], source: str) -> None:
    """Raise InputError for whole numbers where others belong, and the other way round, and for numbers that are not finite
    in the precision that detectors compute in (NaN, infinity, 1e39); precision itself does not matter."""
    for name, value in weights.items():
        value, whole = np.asarray(value), np.dtype(wanted[name].dtype).kind == "i"
        if value.dtype.kind not in ("iu" if whole else "fV"):  # V: bfloat16
            expected = "whole numbers" if whole else "floating-point numbers"
            raise InputError(f"{source}: tensor {name} is of type {value.dtype}, expected {expected}")
        if not whole and (bad := first_not_finite(value, wanted[name].dtype)) is not None:
            raise InputError(f"{source}: tensor {name} has {value[bad]} at {list(map(int, bad))}, expected numbers that are "
                             f"finite in {np.dtype(wanted[name].dtype)}")


def first_not_finite(values: Array, dtype: type) -> tuple[Any, ...] | None:
    """Where the first number is that is not finite in a dtype; None where all are. In blocks, so in little memory."""
    repeated = tuple(slice(None) if stride else slice(1) for stride in values.strides)  # what is broadcast is looked at once
    flat = values[repeated].reshape(-1)
    with np.errstate(over="ignore"):
        for start in range(0, flat.size, BLOCK):
            bad = ~np.isfinite(flat[start:start + BLOCK].astype(dtype, copy=False))
            if bad.any():
                return np.unravel_index(start + int(bad.argmax()), values[repeated].shape)
    return None


def as_computed(weights: Mapping[str, Array], wanted: Mapping[str, tensors.Parameter]) -> dict[str, Array]:
    """Weights, checked ones, in the dtypes that detectors compute in: numbers of every precision float32, counters int64."""
    return {name: np.asarray(value).astype(wanted[name].dtype, copy=False) for name, value in weights.items()}
