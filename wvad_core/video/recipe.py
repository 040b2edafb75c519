"""Recipes of preprocessing: how a video's frames become what an extractor is given, as data."""
from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from ..blocks.configuration import require
from ..errors import InputError, did_you_mean, one_line

SNIPPET = 16
"""Frames in a snippet."""
POSITIONS = ("tl", "tr", "c", "bl", "br")
FILTERS = ("opencv-linear", "bilinear", "bicubic", "lanczos")
CHOICES = {"filter": FILTERS, "mirror": ("none", "frame", "crop"), "centre": ("floor", "round"),
           "sampling": ("all", "first"), "tail": ("drop", "repeat", "drop-last", "partial")}
"""What a recipe's words may be."""
PUBLISHED = Path(__file__).with_name("recipes.json")
MOST_SIDE = 8192
SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})|short side ([1-9][0-9]{0,4})|none")


@dataclass(frozen=True)
class Recipe:
    """How a video becomes clips, as somebody did it whose features are in use.

    resize: "340x256", width x height; "short side 256", the shorter side made 256 and the other in proportion; "none".
    filter: what resizes: Pillow's "lanczos", "bilinear" or "bicubic", which blur where they shrink, or "opencv-linear",
    which does not. The library also decides how "short side" rounds: Pillow's users take int(256 long / short),
    OpenCV round(long factor).

    crops: where they lie in the frame, in their order: "tl", "tr", "c", "bl", "br"; `crop` pixels wide and high.
    centre: how (H - crop) / 2 is rounded, "floor", or "round", to even. mirror: what follows these crops, "none";
    "frame", the same places of the mirrored frame, where "tl" shows the mirrored right corner; "crop", each crop mirrored.
    Optical flow is mirrored as a picture is, its x values unchanged, as published extractors do.

    sampling: which frames of each snippet of 16, "all", or the "first".
    tail: what becomes of the last of n frames: "drop", n // 16 snippets; "repeat", the last frame up to a whole snippet,
    ceil(n / 16); "drop-last", (n - 1) // 16, which leaves out the last snippet even of whole ones; "partial", ceil(n / 16),
    the last of fewer frames. Where that is no snippet, the last frame is repeated up to one.

    extractor: the network that these features come from. scale: how it scales the bytes of a frame, as its setting
    `scale` has it. settings: others of its settings.

    Raises InputError for a value that is out of range.
    """
    extractor: str
    scale: str
    resize: str
    filter: str
    crops: tuple[str, ...]
    mirror: str
    tail: str
    crop: int = 224
    centre: str = "floor"
    sampling: str = "all"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("extractor", "scale"):
            require(isinstance(getattr(self, name), str), name, getattr(self, name), "a word")
        for name, words in CHOICES.items():
            require(getattr(self, name) in words, name, getattr(self, name), " or ".join(words))
        crops = self.crops
        require(isinstance(crops, tuple) and len(crops) > 0 and all(place in POSITIONS for place in crops)
                and len(set(crops)) == len(crops), "crops", crops, f"some of {', '.join(POSITIONS)}, each once")
        require(type(self.crop) is int and 1 <= self.crop <= MOST_SIDE, "crop", self.crop,
                f"a whole number from 1 to {MOST_SIDE}")
        require(isinstance(self.settings, Mapping), "settings", self.settings, "settings of the extractor, by name")
        require(isinstance(self.resize, str) and bool(SIZE.fullmatch(self.resize)), "resize", self.resize,
                "WIDTHxHEIGHT, \"short side N\" or none")
        require(min(self.target or (self.crop,)) >= self.crop, "resize", self.resize,
                f"at least the crop's {self.crop} pixels")

    @property
    def target(self) -> tuple[int, ...]:
        """What frames are resized to: (height, width), (short side,) or ()."""
        width, height, short = re.fullmatch(SIZE, self.resize).groups()  # type: ignore[union-attr]  # checked
        return (int(height), int(width)) if width else (int(short),) if short else ()

    @property
    def count(self) -> int:
        """N, the number of crops."""
        return len(self.crops) * (1 if self.mirror == "none" else 2)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON, of which `from_dict` makes the recipe again."""
        return dataclasses.asdict(self) | {"crops": list(self.crops), "settings": dict(self.settings)}


@cache
def _published() -> dict[str, Recipe]:
    return {name: from_dict(values, name) for name, values in _read(PUBLISHED).items()}


def recipes() -> dict[str, Recipe]:
    """The published recipes by name: whose features they make. What of them is not certain: docs/video.md."""
    return dict(_published())


def find_recipe(name_or_file: str | Path) -> Recipe:
    """A published recipe by its name, or one of your own in a TOML or JSON file.

    Raises InputError for a name that is none, with those that come near, and for a file that holds no recipe.
    """
    known, path = _published(), Path(name_or_file)
    if str(name_or_file) in known:
        return known[str(name_or_file)]
    if path.suffix not in (".toml", ".json"):
        raise InputError(f"unknown recipe {str(name_or_file)!r}{did_you_mean(name_or_file, known)}; the recipes "
                         f"are {', '.join(known)}, or a file of your own, .toml or .json")
    return from_dict(_read(path), str(path))


def from_dict(values: Any, source: str = "recipe") -> Recipe:
    """The recipe that plain data makes. source: whose data it is, for what is raised: InputError for a name that no
    recipe has, for one that is missing, and for a value that is out of range."""
    names = [f.name for f in fields(Recipe)]
    if not isinstance(values, Mapping):
        raise InputError(f"{source}: a {type(values).__name__}, expected a recipe's values by name")
    for key in values:
        if key not in names:
            raise InputError(f"{source}: a recipe has no value {one_line(key, 80)!r}{did_you_mean(key, names)}; it has "
                             f"{', '.join(names)}")
    if missing := [name for name in names[:7] if name not in values]:
        raise InputError(f"{source}: has no {', '.join(missing)}, expected a whole recipe")
    crops = values["crops"]
    listed = isinstance(crops, list) and all(isinstance(place, str) for place in crops)
    try:
        return Recipe(**{**values, "crops": tuple(crops) if listed else crops})
    except InputError as error:
        raise InputError(f"{source}: {one_line(error)}") from error


def _read(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("utf-8")
        if path.suffix == ".json":
            return json.loads(text)
        try:
            import tomllib  # type: ignore[import-not-found]
        except ImportError:  # Python 3.10
            import tomli as tomllib  # type: ignore[no-redef,import-not-found]
        return tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ImportError as error:
        raise InputError(f"{path}: reading TOML needs Python 3.11 or tomli: pip install \"wvad[video]\"; JSON needs "
                         "neither") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not {path.suffix[1:].upper()} ({one_line(error)}), expected a recipe") from error
