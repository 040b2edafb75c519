"""Run folders: what a training run leaves behind, and how it goes on after it was stopped.

    recipe.json         what is trained on what, by which recipe (see `planning.Plan`)
    history.jsonl       a line for each step and each validation
    best.safetensors    the weights of the best validation until the last save, a checkpoint like any other
    last.safetensors    those of the last save
    state.safetensors   all that `--resume` needs: weights, the best ones, optimiser, memory, position
    events.out.tfevents...  TensorBoard's, along the way, where tensorboardX is there (see events.py)
    report.json, curves.png, best/, last/   at the end: what came of it, and the reports of both weights on the test set

Every file but the history is written whole or not at all, the state last. A resumed run reads the state and the history
up to the state's place, and no other file; so whatever a killed run wrote behind its last save is written anew.
`read_run` reads and changes nothing; `Run` writes, one process at a time, which holds the lock of the folder's file .lock.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
LOCK = ".lock"
WEIGHTS, TRAINER, KEPT = "weights.", "trainer.", "best."
"""What the names of a state's tensors begin with."""
KEYS = ("plan", "position", "history")
"""A state's metadata, in JSON; `sha256` is of these and of the tensors."""


@dataclass(frozen=True)
class SavedRun:
    """What a run folder goes on from. plan: as `recipe.json` has it. best: the best weights of the stage at hand; None before
    the first validation. history: up to the save, which is `size` bytes of its file."""
    plan: Mapping[str, Any]
    saved: Saved
    best: Mapping[str, np.ndarray] | None
    history: list[dict[str, Any]]
    size: int


def read_run(folder: str | Path, *plans: Mapping[str, Any]) -> SavedRun | None:
    """What a run folder goes on from, checked; None where nothing was saved. Changes nothing.

    plans: with any of which the state may have been saved, but for the `device`; another one is refused.
    Raises InputError for a state that is damaged or another run's, and for a history or best weights that are not its own.
    """
    path = Path(folder, STATE)
    if not path.exists():
        return None
    state = safetensors.read(path)
    if not {*KEYS, "sha256"} <= state.metadata.keys() or _hash(state.tensors, state.metadata) != state.metadata["sha256"]:
        raise InputError(f"{path}: not a state that this library has written, or altered since")
    written, position, (size, sha256) = (json.loads(state.metadata[key]) for key in KEYS)
    differences = [_difference(written, {**plan, "device": written.get("device")}) for plan in plans if plan]
    if differences and all(differences):
        raise InputError(f"{path}: the state of another run, {differences[0]}")
    weights, trainer, best = ({name.removeprefix(part): value for name, value in state.tensors.items()
                               if name.startswith(part)} for part in (WEIGHTS, TRAINER, KEPT))
    _check_best(path.with_name(BEST), best)
    history = _read_history(path.with_name(HISTORY), size, sha256)
    return SavedRun(written, Saved(Position(**position), weights, trainer), best or None, history, size)


def _read_history(path: Path, size: int, sha256: str) -> list[dict[str, Any]]:
    """The history up to the state's place."""
    text = path.read_bytes()[:size] if path.exists() else b""
    if len(text) < size:
        raise InputError(f"{path}: has {len(text)} bytes, expected the {size} that {STATE} was written with")
    if hashlib.sha256(text).hexdigest() != sha256:
        raise InputError(f"{path}: not the history that {STATE} was written with, or altered since")
    return [json.loads(line) for line in text.splitlines()]


def _check_best(path: Path, best: Mapping[str, np.ndarray]) -> None:
    """The file is written anew from the state; what somebody else has put in its place is not overwritten."""
    if not best or not path.exists():
        return
    found = safetensors.read(path)
    shapes = ({name: value.shape for name, value in tensors.items()} for tensors in (found.tensors, best))
    if description(found, str(path)) is None or next(shapes) != next(shapes):
        raise InputError(f"{path}: not the weights of this run; without that file, --resume writes it anew")


class Run(Journal):
    """A journal in a folder. Of several processes only the first one writes.

    Opening reads and checks what is there (`read_run`), and changes nothing. What is written first takes the folder's lock,
    until training ends, well or not. The first save of a new run writes its plan; the first line that is recorded in one that
    goes on cuts the history back to the state's place.
    plan: what is trained; a state that was saved with another one is refused, but for its `device`. recipe, metric: for the
    event files, the recipe whose rates they have, and the name of what the best weights are chosen by.
    begun_as: another plan that the state may have been saved with; the run then goes on by `plan`. Before its first line that
        is written into the state and then beside it, so that a process that is killed in between leaves either.
    Raises InputError as `read_run`; and when it begins to write, where another process trains in the folder, or has since it
    was read.
    """

    def __init__(self, folder: str | Path, writes: bool = True, plan: Mapping[str, Any] | None = None,
                 recipe: Recipe | None = None, metric: str = "score", begun_as: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.recipe, self.metric = recipe, metric
        self.folder, self.writes = Path(folder), writes
        self.plan, self.begun_as = (json.loads(json.dumps(plain(given or {}))) for given in (plan, begun_as or plan))
        self._events, self._lock, self._stamp = None, None, self._state_stamp()
        self._begun, self._best_written = not writes, False
        self._read = read_run(self.folder, self.begun_as, self.plan)
        if self._read is not None:
            self.best, self.history = self._read.best, self._read.history
        self.steps = sum("total" in line for line in self.history)

    def saved(self) -> Saved | None:
        return self._read and self._read.saved

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

    def __exit__(self, *error: object) -> None:
        if self._events:
            self._events.close()
        if self._lock:
            self._lock.release()

    def _begin(self) -> None:
        """Before anything else is written: take the lock; the plan, or else cut off what was written behind the state."""
        if self._begun:
            return
        self._lock = _locked(self.folder)
        if self._state_stamp() != self._stamp:
            raise InputError(f"{self.folder}: another process has trained in it since it was read; resume it once more")
        self._begun = True
        if self.plan != self.begun_as:
            self._write_plan_into_state()
        if self.plan and (self._read is None or self.plan != self.begun_as):
            write_json(self.folder / PLAN, self.plan)
        if (self.folder / HISTORY).exists():
            with open(self.folder / HISTORY, "r+b") as file:
                file.truncate(self._read.size if self._read else 0)
        self._events = Events(self.folder, self.steps, self.plan, self.recipe, self.metric)

    def _state_stamp(self) -> tuple[int, int] | None:
        """The size of the state's file and when it was written; None where there is none."""
        path = self.folder / STATE
        return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None

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


def _locked(folder: Path) -> Any:
    """Hold the lock of a folder, which is made where it is not there. It ends with the process, however that ends."""
    from filelock import FileLock, Timeout  # imports much that nothing else needs

    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another process trains in it, expected one at a time") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return lock
