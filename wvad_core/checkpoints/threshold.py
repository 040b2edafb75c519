"""From which score on a detector raises an alarm, and what that is known from; a checkpoint keeps it in its metadata."""
from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import InputError

KEY = "threshold"
"""In the metadata of a checkpoint that was calibrated."""
HYSTERESIS, MINIMUM, GAP = 0.2, 1.0, 2.0
"""Where nobody says otherwise: how far `low` lies below `high`, as a fraction of it; seconds."""


@dataclass(frozen=True)
class Threshold:
    """How scores become events (`scoring.events`), and by what that was chosen.

    high: the score that an event reaches. low: the score that it has from its start to its end, at most `high`.
    minimum: seconds that an event lasts at least. gap: seconds between two events up to which they are one.
    false_alarms, videos, hours: how many events it makes of how many normal videos of so many hours; None where it was chosen
        by hand. wanted_rate: the events an hour that were allowed then.

        wv.load("calibrated.safetensors").threshold.high
    """
    high: float
    low: float
    minimum: float = MINIMUM
    gap: float = GAP
    false_alarms: int | None = None
    videos: int | None = None
    hours: float | None = None
    wanted_rate: float | None = None

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if value is None and part.default is None:
                continue
            whole = part.name in ("false_alarms", "videos")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not math.isfinite(value):
                raise InputError(f"threshold: {part.name} is {value!r}, expected a {'whole' if whole else 'finite'} number")
            if part.name not in ("high", "low") and value < 0:
                raise InputError(f"threshold: {part.name} is {value}, expected 0 or more")
        if self.low > self.high:
            raise InputError(f"threshold: low is {self.low:g}, expected at most high, {self.high:g}")

    @property
    def rate(self) -> float | None:
        """False alarms an hour on the videos that it was chosen by; None where there were none."""
        return self.false_alarms / self.hours if self.hours and self.false_alarms is not None else None

    def metadata(self) -> dict[str, str]:
        """What goes into a file's metadata, whose hash covers all of it."""
        return {KEY: json.dumps({name: value for name, value in asdict(self).items() if value is not None})}

    def text(self) -> str:
        """In a line, for people."""
        how = "chosen by hand" if self.rate is None else (
            f"{self.false_alarms} false alarms in {self.hours:.2f} h of {self.videos} normal videos, {self.rate:.3g} an hour")
        return f"{self.high:.6g} (until below {self.low:.6g}, from {self.minimum:g} s on, gaps up to {self.gap:g} s closed; {how})"


def by_hand(high: float, low: float | None = None, **others: Any) -> Threshold:
    """A threshold, `low` lying HYSTERESIS below it where it is not given. others: of `Threshold`'s fields."""
    return Threshold(high, high - HYSTERESIS * abs(high) if low is None else low, **others)


def read(metadata: dict[str, str], source: str) -> Threshold | None:
    """That of a file's metadata, if there is one. Raises InputError for what this library does not write."""
    if KEY not in metadata:
        return None
    try:
        return Threshold(**json.loads(metadata[KEY]))
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{source}: the entry {KEY} of the metadata is not what this library writes") from error
