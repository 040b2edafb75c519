"""Configurations: the sizes and settings of a method, as one frozen dataclass a method."""
from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, ClassVar

from ..errors import InputError

PUBLISHED_CROPS = (1, 5, 10)
MOST_CROPS = max(PUBLISHED_CROPS)
"""That a video has, unless it is known to have more."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Base of the methods' configurations. Every field has the published value as its default.

    layout: what the features of a video are, which also says how they are scored: "crops", (N, T, D), N crops scored
        one by one and averaged; "single", the same with one feature a snippet; "patches", (N, T, D), crops followed
        by patches, scored together.
    halves: whether the losses take batches in halves, as many normal as abnormal videos, the normal ones first; where not,
        they take any videos in any order.
    """

    layout: ClassVar[str] = "crops"
    halves: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field, getattr(self, field.name)))

    @property
    def patches(self) -> int:
        """How many of the crop axis's N are patches, behind the crops."""
        return 0

    def crops_of(self, rows: int, crops: int | None = None) -> int:
        """How many of the `rows` of a crop axis are crops: all but the patches, which come behind them.

        crops: their number, where it is known. Any other number is an error; where it is not known, one that is not from
        1 to MOST_CROPS, since then the rows are patches of another stage, or another axis. Raises InputError.
        """
        found, behind = rows - self.patches, f" and behind them {self.patches} patches" if self.patches else ""
        if crops is None and not 1 <= found <= MOST_CROPS or crops is not None and found != crops:
            raise InputError(f"N = {rows} on the crop axis, expected {crops or f'1 to {MOST_CROPS}'} crops{behind}")
        return found

    @property
    def frozen(self) -> tuple[str, ...]:
        """The modules that training leaves as they are, by the names before their tensors' names."""
        return ()

    @property
    def training_only(self) -> tuple[str, ...]:
        """The settings that scores do not depend on, whatever their values."""
        return ()

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def or_none(default: int) -> int:
    """The default of a whole number that may be 0; without this one, a setting is at least 1."""
    return dataclasses.field(default=default, metadata={"least": 0})


def one_of(*choices: str) -> str:
    """The default of a word that is one of `choices`: the first of them."""
    return dataclasses.field(default=choices[0], metadata={"choices": choices})


def configure(kind: type[Config], settings: Mapping[str, Any], method: str) -> Config:
    """Make a configuration from settings; an unknown key is an error that names the nearest known ones."""
    return kind(**typed(kind, settings, method))


def typed(kind: type[Config], settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Settings in the types of their defaults, each by itself: whether they fit together is not asked."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in settings:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, cutoff=0.5) or fields
            raise InputError(f"{method} has no setting {key!r}; did you mean {', '.join(near)}?")
    return {key: _typed(fields[key], value) for key, value in settings.items()}


def any_length(field: dataclasses.Field) -> bool:
    """Whether a setting is a list of any length."""
    return str(field.type).endswith(", ...]")


def _typed(field: dataclasses.Field, value: Any) -> Any:
    value = _like(field.default, value, field.name, any_length(field), field.metadata.get("least", 1))
    choices = field.metadata.get("choices", (value,))
    require(value in choices, field.name, value, f"one of {', '.join(map(str, choices))}")
    return value


def _like(default: Any, value: Any, name: str, any_length: bool = False, least: int = 1) -> Any:
    """Bring `value` to the type of `default`: str, int, float or a tuple of numbers (a JSON list is one)."""
    if isinstance(default, str):
        require(isinstance(value, str), name, value, "a word")
        return value
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and any_length:
            return tuple(_like(default[0], v, name) for v in value)
        if isinstance(value, (list, tuple)) and len(value) == len(default):
            return tuple(_like(d, v, name) for d, v in zip(default, value))
        raise InputError(f"setting {name}: expected {len(default)} numbers such as {list(default)}, found {value!r}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63
    if isinstance(default, int) and number and value == int(value) >= least:
        return int(value)
    if isinstance(default, float) and number and value >= 0:
        return float(value)
    expected = "a number that is not negative" if isinstance(default, float) else (
        "a positive whole number" if least else "a whole number that is not negative")
    raise InputError(f"setting {name}: expected {expected}, found {value!r}")


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise InputError for setting `name` unless `holds`."""
    if not holds:
        raise InputError(f"setting {name}: expected {expected}, found {value!r}")
