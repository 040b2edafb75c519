"""Run folders: what a training run leaves behind, and how it goes on after it was stopped.

    recipe.json         what is trained on what, by which recipe (see `experiment.Plan`)
    history.jsonl       a line for each step and each judgement
    best.safetensors    the weights that were judged best by the last save, a checkpoint like any other
    last.safetensors    those of the last save
    state.safetensors   all that `--resume` needs: weights, the best ones, optimiser, memory, position
    events.out.tfevents...  TensorBoard's, along the way, where tensorboardX is there (see events.py)
    report.json, curves.png, best/, last/   at the end: what came of it, and the reports of both weights on the test set

Every file but the history is written whole or not at all, the state last. A resumed run reads the state and the history
up to the state's place, and no other file; so whatever a killed run wrote behind its last save is written anew.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.contents import Contents, describe, description, digest
from ..checkpoints.formats import safetensors
from ..detector import Detector
from ..errors import InputError
from ..files import plain, write_json
from .events import Events
from .loop import Journal, Position, Saved
from .recipe import Recipe

PLAN, HISTORY = "recipe.json", "history.jsonl"
BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.safetensors"
WEIGHTS, TRAINER, KEPT = "weights.", "trainer.", "best."
"""What the names of a state's tensors begin with."""
KEYS = ("plan", "position", "history")
"""A state's metadata, in JSON; `sha256` is of these and of the tensors."""


class Run(Journal):
    """A journal in a folder. Of several processes only the first one writes.

    Opening reads and checks what is there, and changes nothing. The first save of a new run writes its plan; the first line
    that is recorded in one that goes on cuts the history back to the state's place.
    plan: what is trained; a state that was saved with another one is refused, but for its `device`. recipe, metric: for the
    event files, the recipe whose rates they have, and the name of what the best weights are chosen by.
    begun_as: another plan that the state may have been saved with; the run then goes on by `plan`. Before its first line that
        is written into the state and then beside it, so that a process that is killed in between leaves either.
    Raises InputError for a state that is damaged or another run's, and for a history or best weights that are not its own.
    """

    def __init__(self, folder: str | Path, writes: bool = True, plan: Mapping[str, Any] | None = None,
                 recipe: Recipe | None = None, metric: str = "score", begun_as: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.recipe, self.metric = recipe, metric
        self.folder, self.writes = Path(folder), writes
        self.plan, self.begun_as = (json.loads(json.dumps(plain(given or {}))) for given in (plan, begun_as or plan))
        self._saved, self._size, self._events = None, 0, None
        self._begun, self._best_written = not writes, False
        if (self.folder / STATE).exists():
            self._open()
        self.steps = sum("total" in line for line in self.history)

    def saved(self) -> Saved | None:
        return self._saved

    def record(self, line: dict[str, Any]) -> None:
        self._begin()
        super().record(line)
        self.steps += "total" in line
        if self.writes:
            with open(self.folder / HISTORY, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self._events:
            self._events.record(line, self.steps)

    def keep_best(self, detector: Detector) -> None:
        super().keep_best(detector)
        self._best_written = False

    def save(self, position: Position, detector: Detector, trainer: Any) -> None:
        if not self.writes:
            return
        self._begin()
        weights = detector.weights()
        self._write_best(detector)
        safetensors.write(self.folder / LAST, describe(weights, detector.method, detector.config.as_dict()))
        parts = {WEIGHTS: weights, TRAINER: trainer.state(), KEPT: self.best or {}}
        tensors = {part + name: value for part, values in parts.items() for name, value in values.items()}
        history = (self.folder / HISTORY).read_bytes() if (self.folder / HISTORY).exists() else b""
        metadata = {"plan": json.dumps(self.plan), "position": json.dumps(asdict(position)),
                    "history": json.dumps([len(history), hashlib.sha256(history).hexdigest()])}
        metadata["sha256"] = _hash(tensors, metadata)
        safetensors.write(self.folder / STATE, Contents(tensors, metadata))

    def close(self, detector: Detector) -> None:
        """Leave the folder whole. detector: one of the last stage."""
        if self.writes and not (self.folder / BEST).exists():
            self._best_written = False
            self._write_best(detector)
        if self._events:
            self._events.close()

    def _begin(self) -> None:
        """Before anything else is written: the plan, or else cut off what was written behind the state."""
        if self._begun:
            return
        self._begun = True
        if self.plan != self.begun_as:
            self._write_plan_into_state()
        if self.plan and (self._saved is None or self.plan != self.begun_as):
            write_json(self.folder / PLAN, self.plan)
        if (self.folder / HISTORY).exists():
            with open(self.folder / HISTORY, "r+b") as file:
                file.truncate(self._size)
        self._events = Events(self.folder, self.steps, self.plan, self.recipe, self.metric)

    def _write_plan_into_state(self) -> None:
        state = safetensors.read(self.folder / STATE)
        metadata = {key: state.metadata[key] for key in KEYS} | {"plan": json.dumps(self.plan)}
        metadata["sha256"] = _hash(state.tensors, metadata)
        safetensors.write(self.folder / STATE, Contents(state.tensors, metadata))

    def _write_best(self, detector: Detector) -> None:
        """Write the best weights, unless that is done. detector: any of the same stage."""
        if self.best is not None and not self._best_written:
            safetensors.write(self.folder / BEST, describe(self.best, detector.method, detector.config.as_dict()))
            self._best_written = True

    def _open(self) -> None:
        """Read what was saved, and check it."""
        path = self.folder / STATE
        state = safetensors.read(path)
        if not {*KEYS, "sha256"} <= state.metadata.keys() or _hash(state.tensors, state.metadata) != state.metadata["sha256"]:
            raise InputError(f"{path}: not a state that this library has written, or altered since")
        plan, position, (self._size, digest_) = (json.loads(state.metadata[key]) for key in KEYS)
        differences = [_difference(plan, expected | {"device": plan.get("device")}) for expected in (self.begun_as, self.plan)]
        if self.plan and all(differences):
            raise InputError(f"{path}: the state of another run, {differences[0]}")
        weights, trainer, best = ({name.removeprefix(part): value for name, value in state.tensors.items()
                                   if name.startswith(part)} for part in (WEIGHTS, TRAINER, KEPT))
        self._saved, self.best = Saved(Position(**position), weights, trainer), best or None
        self._check_best(best)
        self._read_history(digest_)

    def _read_history(self, expected: str) -> None:
        """Read the history up to the state's place."""
        path = self.folder / HISTORY
        text = path.read_bytes()[:self._size] if path.exists() else b""
        if len(text) < self._size:
            raise InputError(f"{path}: has {len(text)} bytes, expected the {self._size} that {STATE} was written with")
        if hashlib.sha256(text).hexdigest() != expected:
            raise InputError(f"{path}: not the history that {STATE} was written with, or altered since")
        self.history = [json.loads(line) for line in text.splitlines()]

    def _check_best(self, best: Mapping[str, np.ndarray]) -> None:
        """The file is written anew from the state; what somebody else has put in its place is not overwritten."""
        path = self.folder / BEST
        if not best or not path.exists():
            return
        found = safetensors.read(path)
        shapes = ({name: value.shape for name, value in tensors.items()} for tensors in (found.tensors, best))
        if description(found, str(path)) is None or next(shapes) != next(shapes):
            raise InputError(f"{path}: not the weights of this run; without that file, --resume writes it anew")


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the folder of a training run") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error


def _hash(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join([digest(tensors), *(metadata[key] for key in KEYS)]).encode()).hexdigest()


def _difference(found: Any, expected: Any, name: str = "") -> str | None:
    """The first value that differs, in words; None where none does."""
    if isinstance(found, dict) and isinstance(expected, dict):
        differences = (_difference(found.get(key), expected.get(key), f"{name}.{key}".lstrip("."))
                       for key in found | expected)
        return next(filter(None, differences), None)
    return None if found == expected else f"its {name} is {found!r}, that of this one {expected!r}"
