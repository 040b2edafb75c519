"""Configurations: the sizes and settings of a model, as one frozen dataclass a model."""
from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InputError, nearest

PUBLISHED_CROPS = (1, 5, 10)
MOST_CROPS = max(PUBLISHED_CROPS)
"""That a video has, unless it is known to have more."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of all configurations. Every field has the published value as its default.

    A field is a word, a bool, an int, a float, or a tuple of one of these: tuple[int, int], or tuple[str, ...] of any
    length; any may be None where its annotation says so (int | None). See `at_least` and `one_of` for what it may be.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(type(self), field, getattr(self, field.name)))

    @property
    def training_only(self) -> tuple[str, ...]:
        """The settings that scores, or features, do not depend on, whatever their values."""
        return ()

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """Base of the methods' configurations.

    layout: what the features of a video are, (N, T, D): "crops", N crops; "single", the same with one feature a
        snippet; "patches", crops followed by patches.
    crops_together: whether a network scores all that together, as (1, N, T, D) -> (1, T), and not N crops one by one,
        (N, T, D) -> (N, T), which are then averaged.
    halves: whether the losses take batches in halves, as many normal as abnormal videos, the normal ones first; where
        not, they take any videos in any order.
    """

    layout: ClassVar[str] = "crops"
    crops_together: ClassVar[bool] = False
    halves: ClassVar[bool] = True
    if TYPE_CHECKING:
        @property
        def feature_dim(self) -> int:
            """D of the features: every method has it as a setting, at its own place among the others."""
            ...

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


@dataclasses.dataclass(frozen=True)
class ExtractorConfig(Settings):
    """Base of the extractors' configurations. Each has these settings, at their places among its own:

    in_channels: C of the clips.
    scale: how uint8 frames become the numbers that the network takes, a name in `blocks.clips.SCALES`, or None where
        that is not known: then only clips that are normalised already are taken.
    """

    if TYPE_CHECKING:
        @property
        def in_channels(self) -> int: ...

        @property
        def scale(self) -> str | None: ...

    @property
    def feature_dim(self) -> int:
        """D of the features."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.scale != "clip" or self.in_channels == 3, "scale", self.scale, "another one for other than 3 channels")


def at_least(least: float | None, default: Any) -> Any:
    """The default of a number that is at least `least`, or, with None, any number, negative ones included.

    Without this, whole numbers are at least 1 and others at least 0.
    """
    return dataclasses.field(default=default, metadata={"least": -math.inf if least is None else least})


def one_of(*choices: str) -> Any:
    """The default of a word that is one of `choices`: the first of them."""
    return dataclasses.field(default=choices[0], metadata={"choices": choices})


def configure(config_class: type[Settings], settings: Mapping[str, Any], method: str) -> Any:
    """Make a configuration from settings; an unknown key is an error that names the nearest known ones."""
    return config_class(**typed(config_class, settings, method))


def typed(config_class: type[Settings], settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    """Settings in the types of their defaults, each by itself: whether they fit together is not asked."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    for key in settings:
        if key not in fields:
            raise InputError(f"{method} has no setting {key!r}; did you mean {nearest(key, fields)}?")
    return {key: _typed(config_class, fields[key], value) for key, value in settings.items()}


def any_length(field: dataclasses.Field) -> bool:
    """Whether a setting is a list of any length."""
    return ", ...]" in str(field.type)


def alternatives(config_class: type[Settings]) -> dict[str, tuple[Any, ...]]:
    """{setting: its values, the default first} of words with choices, of what is true or false, and of whole numbers
    that may be None, for which 1 stands where the default is None."""
    found: dict[str, tuple[Any, ...]] = {}
    for field in dataclasses.fields(config_class):
        hint, optional = _hint(config_class, field.name)
        if "choices" in field.metadata:
            found[field.name] = (field.default, *(word for word in field.metadata["choices"] if word != field.default))
        elif hint is bool:
            found[field.name] = (field.default, not field.default)
        elif hint is int and optional:
            found[field.name] = (field.default, 1 if field.default is None else None)
    return found


@cache
def _hints(config_class: type[Settings]) -> dict[str, Any]:
    return typing.get_type_hints(config_class)


def _hint(config_class: type[Settings], name: str) -> tuple[Any, bool]:
    """The type of a setting, and whether it may be None."""
    hint = _hints(config_class)[name]
    members = typing.get_args(hint)
    if type(None) not in members:
        return hint, False
    (only,) = (member for member in members if member is not type(None))
    return only, True


def _typed(config_class: type[Settings], field: dataclasses.Field, value: Any) -> Any:
    hint, optional = _hint(config_class, field.name)
    choices = field.metadata.get("choices")
    if value is None and optional:
        return None
    if choices is not None:
        require(value in choices, field.name, value, f"one of {', '.join(map(str, choices))}" + " or none" * optional)
        return value
    return _like(hint, value, field, " or none" * optional)


def _like(hint: Any, value: Any, field: dataclasses.Field, more: str) -> Any:
    """Bring `value` to a type: str, bool, int, float or a tuple of these (a JSON list is one, and words with commas).

    more: what else is expected.
    """
    if typing.get_origin(hint) is tuple:
        return _tuple_like(typing.get_args(hint), value, field, more)
    if hint in (str, bool):
        require(isinstance(value, hint), field.name, value, ("a word" if hint is str else "true or false") + more)
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63
    least = field.metadata.get("least", 1 if hint is int else 0)
    if number and value >= least and (hint is float or value == int(value)):
        return hint(value)
    noun = "whole number" if hint is int else "number"
    expected = {1: f"a positive {noun}", 0: f"a {noun} that is not negative", -math.inf: f"a {noun}"}
    raise InputError(f"setting {field.name}: expected {expected.get(least, f'a {noun} of at least {least}')}{more}, "
                     f"found {value!r}")


def _tuple_like(members: tuple[Any, ...], value: Any, field: dataclasses.Field, more: str) -> tuple[Any, ...]:
    if isinstance(value, str) and members[0] is str:
        value = value.split(",") if value else ()
    if isinstance(value, (list, tuple)) and members[-1] is ...:
        return tuple(_like(members[0], v, field, more) for v in value)
    if isinstance(value, (list, tuple)) and len(value) == len(members):
        return tuple(_like(member, v, field, more) for member, v in zip(members, value))
    what = "words" if members[0] is str else "numbers"
    count, example = ("", "") if members[-1] is ... else (f"{len(members)} ", "")
    if field.default:
        example = f" such as {list(field.default)}"
    raise InputError(f"setting {field.name}: expected {count}{what}{example}{more}, found {value!r}")


def require(holds: bool, name: str, value: Any, expected: str) -> None:
    """Raise InputError for setting `name` unless `holds`."""
    if not holds:
        raise InputError(f"setting {name}: expected {expected}, found {value!r}")
