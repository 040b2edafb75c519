"""What a checkpoint does not say, and loading took for granted."""
from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

from ..blocks.configuration import Config
from ..errors import AssumedWarning, InputError

KEY = "assumed"
"""In the metadata of a checkpoint that was made of one that leaves something open."""


@dataclass(frozen=True)
class Assumed:
    """What a file leaves open; false where that is nothing, as in what this library has trained or created.

    settings: {name: value} of what neither metadata nor tensors show: the defaults.
    zeros: tensors that the file lacks, as a release may, and that are zero now.
    fresh: tensors of a part that the file lacks, drawn from a seed.
    alternatives: other detectors that the tensors fit, whose scores are the same.
    scored: those of the settings and tensors that scores depend on.
    unverified: settings that the file says, no tensor shows and scores depend on, where its hash does not cover them.

        wv.load("official.pkl").assumed.settings["heads"]
    """
    settings: dict[str, Any] = field(default_factory=dict)
    zeros: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    scored: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, part.name) for part in fields(self))

    def in_scores(self) -> str:
        """What of it scores depend on, in one line; nothing where they do not."""
        scored = set(self.scored)
        settings = " ".join(f"{name}={text(value)}" for name, value in self.settings.items() if name in scored)
        zeros, fresh = (len(scored.intersection(names)) for names in (self.zeros, self.fresh))
        lines = [f"{settings} (by default)" if settings else "", f"{zeros} tensors that it lacks (zeros)" if zeros else "",
                 f"{fresh} tensors of a part that it lacks (fresh weights)" if fresh else ""]
        return ", ".join(line for line in lines if line)

    def altered(self, output: str = "scores") -> str:
        """Which settings might have been altered and nobody would see it, in one line; nothing where there are none."""
        return (f"{output} depend on {' '.join(self.unverified)}, which its hash does not cover, as in version 1 of the "
                "format; `wvad convert` writes it anew") if self.unverified else ""

    def warn(self, source: str, output: str = "scores") -> None:
        """An AssumedWarning where scores, or features, depend on it, as from the caller of `load`."""
        if found := self.in_scores():
            warnings.warn(AssumedWarning(f"{source}: {output} depend on what it does not say: {found}; settings that are given "
                                         "take the place of defaults"), stacklevel=3)
        if found := self.altered(output):
            warnings.warn(AssumedWarning(f"{source}: {found}"), stacklevel=3)

    def metadata(self) -> dict[str, str]:
        """What goes into a file's metadata, whose hash covers all of it; of settings the names."""
        kept = {part.name: list(getattr(self, part.name)) for part in fields(self)
                if part.name != "unverified" and getattr(self, part.name)}
        return {KEY: json.dumps(kept)} if kept else {}


def read(metadata: dict[str, str], config: Config, given: Collection[str], source: str) -> Assumed:
    """What the metadata of a file say that was assumed when it was made, without the settings that are given now."""
    try:
        found = {name: tuple(map(str, names)) for name, names in json.loads(metadata.get(KEY, "{}")).items()}
        settings = [name for name in found.pop("settings", ()) if name not in given]
        assumed = Assumed({name: getattr(config, name) for name in settings}, **found)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{source}: the entry {KEY} of the metadata is not what this library writes") from error
    return replace(assumed, scored=tuple(name for name in assumed.scored if name not in given))


def text(value: Any) -> str:
    """A setting's value as the tools take it: true, none; a list has a comma behind its only number."""
    if isinstance(value, tuple):
        return ",".join(map(text, value)) + ("," if len(value) == 1 and not isinstance(value[0], str) else "")
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
