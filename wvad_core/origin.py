"""What features are made by. It travels from a feature folder to the detector that is trained on it, and to its checkpoint."""
from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import InputError, one_line

KEY = "origin"
"""In features.json, and in the metadata of a checkpoint."""
UNKNOWN = "features of unknown origin (without a features.json)"
DEEPEST = 4
"""Levels that settings may have."""


@dataclass(frozen=True)
class Origin:
    """What snippet features are made by.

    extractor, config: the network's name and its settings. feature_dim: D. weights_sha256: of its weights.
    recipe, preprocessing: what the recipe of preprocessing is called, and its values (`video.Recipe.as_dict`).
    precision: what the network computed in. layout, dtype: of the files.

    Features are interchangeable where `differences` finds none: by precision, layout, dtype and the recipe's name they may
    differ. Raises InputError for values that are no origin.

        wv.load("best.safetensors").origin.recipe       # "roc-ng"
    """
    extractor: str
    config: Mapping[str, Any]
    feature_dim: int
    weights_sha256: str
    precision: str
    recipe: str
    preprocessing: Mapping[str, Any]
    layout: str
    dtype: str

    def __post_init__(self) -> None:
        for name in ("extractor", "precision", "recipe", "layout", "dtype"):
            _require(isinstance(getattr(self, name), str), name, getattr(self, name), "a text")
        for name in ("config", "preprocessing"):
            values = getattr(self, name)
            _require(isinstance(values, Mapping) and _is_plain(values, DEEPEST), name, values, "settings by name")
        dim, sha256 = self.feature_dim, self.weights_sha256
        _require(type(dim) is int and dim > 0, "feature_dim", dim, "a positive whole number")
        _require(isinstance(sha256, str) and bool(re.fullmatch("[0-9a-f]{64}", sha256)), "weights_sha256", sha256, "a SHA-256")

    def __str__(self) -> str:
        """i3d-inception, D = 1024, weights 1a2b3c4d5e6f, recipe roc-ng"""
        return one_line(f"{self.extractor}, D = {self.feature_dim}, weights {self.weights_sha256[:12]}, recipe {self.recipe}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON, of which `from_dict` makes the origin again."""
        return asdict(self) | {"config": dict(self.config), "preprocessing": dict(self.preprocessing)}

    def metadata(self) -> dict[str, str]:
        """What goes into a checkpoint's metadata, whose hash covers all of it."""
        return {KEY: json.dumps(self.as_dict())}

    @property
    def sha256(self) -> str:
        """A hash that is the same where `differences` finds none."""
        values = (self.extractor, self.feature_dim, self.weights_sha256, self.config, self.preprocessing)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def differences(self, other: Origin) -> list[str]:
        """What makes features of the other origin others than these, in words; [] where nothing does."""
        found = [word for name, word in (("extractor", "extractor"), ("feature_dim", "D"), ("weights_sha256", "weights"))
                 if getattr(self, name) != getattr(other, name)]
        for name in ("config", "preprocessing"):
            ours, theirs = _comparable(getattr(self, name)), _comparable(getattr(other, name))
            found += [f"{key} {one_line(ours.get(key), 80)}, not {one_line(theirs.get(key), 80)}"
                      for key in ours | theirs if ours.get(key) != theirs.get(key)]
        return list(dict.fromkeys(found))


def from_dict(values: Any, source: str) -> Origin:
    """The origin that plain data say. Raises InputError, which names `source`, for what is none."""
    names = [field.name for field in fields(Origin)]
    if not isinstance(values, Mapping) or set(values) != set(names):
        found = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
        raise InputError(f"{source}: its origin has {one_line(found, 160) or 'nothing'}, expected {', '.join(names)}")
    try:
        return Origin(**values)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def from_metadata(metadata: Mapping[str, str], source: str) -> Origin | None:
    """What a checkpoint says of the features that it was trained on; None where it says nothing."""
    if KEY not in metadata:
        return None
    try:
        values = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: its origin is not JSON ({one_line(error, 100)})") from error
    return from_dict(values, source)


def compared(features: Origin | None, expected: Origin | None, source: str, whose: str, force: bool = False) -> str:
    """Compare the origin of features with the one that is expected; what is to be said of it, in one line, "" for nothing.

    None stands for one that is not known, which passes. source: where the features are. whose: what expects the other, in
    words, such as "the detector was trained on". Raises InputError where they differ, unless `force` lets them pass.
    """
    if features is None or expected is None:
        made, known = (UNKNOWN if one is None else f"features of {one}" for one in (features, expected))
        return "" if features is expected else f"{source}: {made}; {whose} {known}"
    differences = features.differences(expected)
    if not differences:
        return ""
    line = f"{source}: features of {features}; {whose} features of {expected}; they differ in {'; '.join(differences[:4])}"
    if not force:
        raise InputError(f"{line}; expected the same (--force, force=True: they pass with a warning)")
    return line


def _comparable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them: lists for tuples."""
    return json.loads(json.dumps(dict(values)))


def _is_plain(value: Any, levels: int) -> bool:
    """Whether a value is one that JSON has, of so many levels at most."""
    if isinstance(value, (Mapping, list, tuple)):
        keyed = not isinstance(value, Mapping) or all(isinstance(key, str) for key in value)
        inner = value.values() if isinstance(value, Mapping) else value
        return levels > 0 and keyed and all(_is_plain(one, levels - 1) for one in inner)
    return value is None or isinstance(value, (str, int, float))


def _require(holds: bool, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise InputError(f"the {name} of its origin is {one_line(repr(value), 80)}, expected {expected}")
