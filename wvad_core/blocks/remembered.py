"""A value that is computed of tensors, kept for as long as every one of them holds the same numbers."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Remembered:
    """The value that was computed last, and copies of the tensors that it was computed of.

    They are compared number by number whenever it is asked for. Nothing less is certain: versions and identities of tensors do
    not move with changes through `.data`, with fused optimisers, or in memory that is shared.
    A copy of it remembers nothing, and nor does what is pickled.
    """

    def __init__(self) -> None:
        self.kept: tuple[list[Any], Any] | None = None

    def value(self, tensors: Sequence[Any], same: Callable[[Any, Any], bool], copied: Callable[[Any], Any],
              compute: Callable[[], Any]) -> Any:
        """compute(), or what it gave when every tensor was the `same` as now. copied: makes the copy of one that is kept."""
        kept = self.kept  # threads may put another one there meanwhile
        if kept is None or len(kept[0]) != len(tensors) or not all(map(same, kept[0], tensors)):
            kept = [copied(tensor) for tensor in tensors], compute()
            self.kept = kept
        return kept[1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Remembered:
        return Remembered()

    def __reduce__(self) -> tuple[Any, ...]:
        return Remembered, ()
