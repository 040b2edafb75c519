"""Configurations: the sizes and settings of a method, as one frozen dataclass a method."""
from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from .errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of the methods' configurations. Every field has the published value as its default."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _like(field.default, getattr(self, field.name), field.name))

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def configure(kind: type[Config], settings: dict[str, Any], method: str) -> Config:
    """Make a configuration from settings; an unknown key is an error that names the nearest known ones."""
    known = [field.name for field in dataclasses.fields(kind)]
    for key in settings:
        if key not in known:
            near = difflib.get_close_matches(key, known, cutoff=0.5) or known
            raise InputError(f"{method} has no setting {key!r}; did you mean {', '.join(near)}?")
    return kind(**settings)


def _like(default: Any, value: Any, name: str) -> Any:
    """Bring `value` to the type of `default`: int, float or a tuple of them (a JSON list is one)."""
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and len(value) == len(default):
            return tuple(_like(d, v, name) for d, v in zip(default, value))
        raise InputError(f"setting {name}: expected {len(default)} numbers such as {list(default)}, found {value!r}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, int) and number and value == int(value) > 0:
        return int(value)
    if isinstance(default, float) and number and value >= 0:
        return float(value)
    expected = "a positive whole number" if isinstance(default, int) else "a number that is not negative"
    raise InputError(f"setting {name}: expected {expected}, found {value!r}")


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise InputError for setting `name` unless `holds`."""
    if not holds:
        raise InputError(f"setting {name}: expected {expected}, found {value!r}")
