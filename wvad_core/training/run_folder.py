"""Run folders: what a training run leaves behind, and how it goes on after it was stopped.

    recipe.json         what is trained on what, by which recipe (see `planning.Plan`)
    history.jsonl       a line for each step and each validation
    best.safetensors    the weights of the best validation until the last save, a checkpoint like any other
    last.safetensors    those of the last save
    state.safetensors   all that `--resume` needs (see saved_state.py)
    events.out.tfevents...  TensorBoard's, along the way, where tensorboardX is there (see events.py)
    report.json, curves.png, best/, last/   at the end: what came of it, and the reports of both weights on the test set

Every file but the history is written whole or not at all, the state last. A resumed run goes on from the state and the
history up to the state's place, and from no other file; so whatever a killed run wrote behind its last save is written anew.
`read_run` reads and changes nothing; `Run` writes, one process at a time, which holds the lock of the folder's file .lock.
Nothing is written through a link in the folder; the folder itself may be one.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.contents import describe, description
from ..checkpoints.formats import safetensors
from ..detector import Detector
from ..errors import InputError, one_line
from ..files import plain, write_json, writing
from . import saved_state
from .events import Events
from .loop import Journal, Position, Saved
from .recipe import Recipe
from .run_files import BEST, HISTORY, LAST, LOCK, PLAN, STATE, check_places, locked, no_link, remove_leftovers
from .saved_state import State

MAY_DIFFER = ("device", "dataset", "features", "companions")
"""Values of a plan by which a run may go on otherwise than it began: where it computes, and the paths of its data, whose
contents have digests."""


@dataclass(frozen=True)
class SavedRun:
    """What a run folder goes on from. plan: as `recipe.json` has it. best: the best weights of the stage at hand; None before
    the first validation. history: up to the save, which is `size` bytes of its file. data: digests of what is trained on."""
    plan: Mapping[str, Any]
    saved: Saved
    best: Mapping[str, np.ndarray] | None
    history: list[dict[str, Any]]
    size: int
    data: Mapping[str, str]


def read_run(folder: str | Path, *plans: Mapping[str, Any]) -> SavedRun | None:
    """What a run folder goes on from, checked; None where nothing was saved. Changes nothing.

    plans: with any of which the state may have been saved, but for what `MAY_DIFFER`; another one is refused.
    Raises InputError for a state that is damaged or another run's, for a history and weights that are not its own, and for
    links in place of what is written.
    """
    path = Path(folder, STATE)
    check_places(path.parent)
    if not path.exists():
        return None
    state = saved_state.read(path)
    differences = [_difference(state.plan, {**plan, **{key: state.plan.get(key) for key in MAY_DIFFER}}) for plan in plans if plan]
    if differences and all(differences):
        raise InputError(f"{path}: the state of another run, {differences[0]}")
    _check_weights(path.with_name(BEST), state.best)
    _check_weights(path.with_name(LAST), state.weights)
    history = _read_history(path.with_name(HISTORY), state)
    position = saved_state.check_position(state, history, str(path))
    saved = Saved(position, state.weights, state.trainer, state.random)
    return SavedRun(state.plan, saved, state.best or None, history, state.size, state.data)


def _read_history(path: Path, state: State) -> list[dict[str, Any]]:
    """The history up to the state's place."""
    try:
        size, text = path.stat().st_size if path.exists() else 0, b""
        if size >= state.size > 0:
            with open(path, "rb") as file:  # no more of it: behind the state's place there may be anything
                text = file.read(state.size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(text) < state.size:
        raise InputError(f"{path}: has {size} bytes, expected the {state.size} that {STATE} was written with")
    if hashlib.sha256(text).hexdigest() != state.sha256:
        raise InputError(f"{path}: not the history that {STATE} was written with, or altered since")
    return [saved_state.parsed(line, f"{path}, line {number}") for number, line in enumerate(text.splitlines(), 1)]


def _check_weights(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """The file is written anew from the state; what somebody else has put in its place is not overwritten."""
    if not weights or not path.exists():
        return
    found = safetensors.read(path)
    shapes = ({name: value.shape for name, value in tensors.items()} for tensors in (found.tensors, weights))
    if description(found, str(path)) is None or next(shapes) != next(shapes):
        raise InputError(f"{path}: not the weights of this run; without that file, --resume writes it anew")


class Run(Journal):
    """A journal in a folder. Of several processes only the first one writes.

    Opening reads and checks what is there (`read_run`), and changes nothing. `with` a run, its folder is locked, for as long as
    anything of it is at work. The first save of a new run writes its plan; the first line that is recorded in one that
    goes on cuts the history back to the state's place.
    plan: what is trained; a state that was saved with another one is refused, but for what `MAY_DIFFER`. recipe, metric: for
    the event files, the recipe whose rates they have, and the name of what the best weights are chosen by.
    begun_as: another plan that the state may have been saved with; the run then goes on by `plan`. Before its first line that
        is written into the state and then beside it, so that a process that is killed in between leaves either.
    data: digests of what is trained on, which the state keeps; set before anything is saved.
    Raises InputError as `read_run`; where another process trains in the folder, or has since it was read; and, as it
    writes, what `files.cannot_write` makes of an error of the disk.
    """

    def __init__(self, folder: str | Path, writes: bool = True, plan: Mapping[str, Any] | None = None,
                 recipe: Recipe | None = None, metric: str = "score", begun_as: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.recipe, self.metric = recipe, metric
        self.folder, self.writes = Path(folder), writes
        self.plan, self.begun_as = plain(plan or {}), plain(begun_as or plan or {})
        self.data: Mapping[str, str] = {}
        self._events, self._lock, self._entered, self._made = None, None, 0, []
        self._begun, self._best_written = not writes, False
        check_places(self.folder)
        if writes and (self.folder / LOCK).exists():
            locked(self.folder).release()  # what another one writes at the moment is not to be read
        self._stamp = self._state_stamp()
        self._read = read_run(self.folder, self.begun_as, self.plan)
        if self._read is not None:
            self.best, self.history = self._read.best, self._read.history
        self.steps = sum("total" in line for line in self.history)

    def saved(self) -> Saved | None:
        return self._read and self._read.saved

    def saved_data(self) -> Mapping[str, str] | None:
        """The digests of what the run was trained on until it was saved; None where nothing was."""
        return self._read and self._read.data

    def record(self, line: dict[str, Any]) -> None:
        self._begin()
        super().record(line)
        self.steps += "total" in line
        if self.writes:
            with writing(self.folder / HISTORY), open(self.folder / HISTORY, "a", encoding="utf-8", opener=no_link) as file:
                file.write(json.dumps(line) + "\n")
        if self._events:
            self._events.record(line, self.steps)

    def keep_best(self, detector: Detector) -> None:
        super().keep_best(detector)
        self._best_written = False

    def save(self, position: Position, detector: Detector, trainer: Any, random: tuple[str, ...] = ()) -> None:
        if not self.writes:
            return
        self._begin()
        weights = detector.weights()
        self._write_best(detector)
        self._write_weights(LAST, weights, detector)
        with writing(self.folder / HISTORY):
            history = (self.folder / HISTORY).read_bytes() if (self.folder / HISTORY).exists() else b""
        saved_state.write(self.folder / STATE, State(self.plan, self.data, asdict(position), len(history), hashlib.sha256(
            history).hexdigest(), weights, trainer.state(), self.best or {}, random))
        if self._events:
            self._events.flush()

    def close(self, detector: Detector) -> None:
        """Leave the folder whole. detector: one of the last stage."""
        if self.writes and not (self.folder / BEST).exists():
            self._best_written = False
            self._write_best(detector)
        if self.writes and not (self.folder / LAST).exists():
            self._write_weights(LAST, detector.weights(), detector)

    def __enter__(self) -> Run:
        self._hold()
        self._entered += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._entered -= 1
        if self._entered:
            return
        try:
            if self._events and error[0] is None:
                self._events.close()
            elif self._events:
                with suppress(Exception):  # what ends the run already is what is told
                    self._events.close()
        finally:
            self._let_go()

    def _hold(self) -> None:
        """Take the lock, unless that is done."""
        if not self.writes or self._lock:
            return
        self._made = [path for path in (self.folder / LOCK, self.folder, *self.folder.parents) if not path.exists()]
        self._lock = locked(self.folder)
        if self._state_stamp() != self._stamp:
            self._let_go()
            raise InputError(f"{self.folder}: another process has trained in it since it was read; resume it once more")

    def _let_go(self) -> None:
        """Release the lock. A run that has written nothing takes what was made for it along."""
        if self._lock:
            for path in () if self._begun else self._made:
                with suppress(OSError):
                    path.unlink() if path.name == LOCK else path.rmdir()
            self._lock.release()
            self._lock = None

    def _begin(self) -> None:
        """Before anything else is written: the plan, or else cut off what was written behind the state."""
        if self._begun:
            return
        self._hold()
        check_places(self.folder)
        self._begun = True
        remove_leftovers(self.folder)
        if self.plan != self.begun_as:
            self._write_plan_into_state()
        if self.plan and (self._read is None or self.plan != self.begun_as):
            write_json(self.folder / PLAN, self.plan)
        if (self.folder / HISTORY).exists():
            with writing(self.folder / HISTORY), open(self.folder / HISTORY, "r+b", opener=no_link) as file:
                file.truncate(self._read.size if self._read else 0)
        self._events = Events(self.folder, self.steps, self.plan, self.recipe, self.metric)

    def _state_stamp(self) -> tuple[int, int] | None:
        """The size of the state's file and when it was written; None where there is none."""
        path = self.folder / STATE
        return (path.stat().st_size, path.stat().st_mtime_ns) if path.exists() else None

    def _write_plan_into_state(self) -> None:
        state = saved_state.read(self.folder / STATE)
        saved_state.write(self.folder / STATE, replace(state, plan=self.plan))

    def _write_best(self, detector: Detector) -> None:
        """Write the best weights, unless that is done. detector: any of the same stage."""
        if self.best is not None and not self._best_written:
            self._write_weights(BEST, self.best, detector)
            self._best_written = True

    def _write_weights(self, name: str, weights: Mapping[str, np.ndarray], detector: Detector) -> None:
        safetensors.write(self.folder / name, describe(weights, detector.method, detector.config.as_dict(),
                                                          origin=detector.origin))


def _difference(found: Any, expected: Any, name: str = "") -> str | None:
    """The first value that differs, in words; None where none does."""
    if isinstance(found, dict) and isinstance(expected, dict):
        differences = (_difference(found.get(key), expected.get(key), f"{name}.{key}".lstrip("."))
                       for key in found | expected)
        return next(filter(None, differences), None)
    return None if found == expected else f"its {one_line(name, 80)} is {one_line(repr(found), 80)}, that of this one " \
                                          f"{one_line(repr(expected), 80)}"
