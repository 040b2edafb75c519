"""Small runs that are told to end at a step, on one process or on several."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cases import CONFIGS, batch, video
from wvad_core.errors import Terminated
from wvad_core.registry import specification
from wvad_core.training.loop import Journal, Saved, Stop, Trained, train
from wvad_core.training.overrides import resolve

METHOD = "ur-dmu"
"""With dropout and noise."""
RECIPE = {"segments": 20, "videos": 4, "steps": 4, "learning_rate": 1e-3}


class Kept(Journal):
    """A journal that keeps what was saved last, and asks to stop at a step."""

    def __init__(self, saved: Saved | None = None, stop: Stop | None = None, at: int | None = None) -> None:
        super().__init__()
        self.kept, self.stop, self.at = saved, stop, at

    def saved(self) -> Saved | None:
        return self.kept

    def record(self, line: dict[str, Any]) -> None:
        super().record(line)
        if self.stop is not None and line["step"] == self.at:
            self.stop.asked = True

    def save(self, position, detector, trainer, random=()) -> None:
        self.kept = Saved(position, detector.weights(), trainer.state(), random)


def run(method: str, framework: str, journal: Journal, stop: Stop | None = None) -> Trained:
    config = CONFIGS[method][-1]
    found = resolve(RECIPE, specification(method).Config, config | {"save_every": 3}, method)
    training_set = SimpleNamespace(features=[video(method, config, 20)], origin=None, batch=lambda step, videos, seed, crops, rank, ranks, *_: batch(
        method, config, 20, videos, seed=step).shard(rank, ranks))
    return train(method, found.config, training_set, found.recipe, framework, journal=journal, options=found.options, stop=stop)


def told_to_end(framework: str, rank: int) -> dict[str, Any]:
    """The last process alone is asked to stop, in its second step: where this one stops, and what it goes on with to the end."""
    whole, stop = Kept(), Stop()
    expected = run(METHOD, framework, whole)
    first = Kept(stop=stop, at=2 if rank else None)
    try:
        run(METHOD, framework, first, stop)
        message = "not told"
    except Terminated as error:
        message = str(error)
    second = Kept(first.kept)
    found = run(METHOD, framework, second, Stop())
    return {"message": message, "random": first.kept.random, "history": first.history + second.history, "whole": whole.history,
            "weights": found.detector.weights(), "expected": expected.detector.weights()}
