"""The names that tensors have in files: a method's canonical ones, or those of its published checkpoints."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ...blocks import tensors
from ...blocks.configuration import Config
from ...errors import InputError, listing
from ...registry import Published, Specification

Array = np.ndarray
CANONICAL, PUBLISHED = "this library's", "published"


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
    used = {n: v for n, v in state.items() if n not in published.unused}
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
    return missing, [n for n in names if n not in published.names and n not in published.unused]


def squeezed(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def check_kinds(weights: Mapping[str, Array], wanted: Mapping[str, tensors.Parameter], source: str) -> None:
    """Raise InputError for whole numbers where others belong, and the other way round; precision does not matter."""
    for name, value in weights.items():
        whole = np.dtype(wanted[name].dtype).kind == "i"
        if np.asarray(value).dtype.kind not in ("iu" if whole else "fV"):  # V: bfloat16
            expected = "whole numbers" if whole else "floating-point numbers"
            raise InputError(f"{source}: tensor {name} is of type {np.asarray(value).dtype}, expected {expected}")


def as_computed(weights: Mapping[str, Array], wanted: Mapping[str, tensors.Parameter], source: str) -> dict[str, Array]:
    """Weights in the dtypes that detectors compute in: numbers of every precision become float32, counters int64."""
    check_kinds(weights, wanted, source)
    return {name: np.asarray(value).astype(wanted[name].dtype, copy=False) for name, value in weights.items()}
