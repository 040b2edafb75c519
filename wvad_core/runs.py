"""Run folders: what a training run leaves behind, and how it goes on after it was stopped.

    recipe.json         what is trained on what, by which recipe (see `experiments.Plan`)
    history.jsonl       a line for each step and each judgement
    best.safetensors    the weights that were judged best, a checkpoint like any other
    last.safetensors    those of the last save
    state.safetensors   all that `--resume` needs: weights, optimiser, memory, position
    report.json, curves.png, events.out.tfevents...   at the end, at the end, and along the way where tensorboardX is there

Every file but the history is written whole or not at all, the state last. The history is cut back to the state's place.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoints import safetensors
from .checkpoints.contents import Contents, digest
from .detector import Detector, load
from .errors import InputError
from .training import Journal, Position, Saved

BEST, LAST, STATE, HISTORY = "best.safetensors", "last.safetensors", "state.safetensors", "history.jsonl"
WEIGHTS, TRAINER = "weights.", "trainer."


class Run(Journal):
    """A journal in a folder. Of several processes only the first one writes."""

    def __init__(self, folder: str | Path, writes: bool = True) -> None:
        super().__init__()
        self.folder, self.writes = Path(folder), writes
        self._state = self._read_state()
        self._rewind(int(self._state.metadata["history"]) if self._state else 0)
        self.steps = sum("total" in line for line in self.history)
        self._events = _events(self.folder, self.steps) if writes else None

    def saved(self) -> Saved | None:
        if self._state is None:
            return None
        weights, trainer = ({name.removeprefix(part): value for name, value in self._state.tensors.items()
                             if name.startswith(part)} for part in (WEIGHTS, TRAINER))
        return Saved(Position(**json.loads(self._state.metadata["position"])), weights, trainer)

    def record(self, line: dict[str, Any]) -> None:
        super().record(line)
        self.steps += "total" in line
        if self.writes:
            with open(self.folder / HISTORY, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if self._events:
            for name in line.keys() - {"stage", "step"}:
                self._events.add_scalar(name, line[name], self.steps)

    def keep_best(self, detector: Detector) -> None:
        super().keep_best(detector)
        if self.writes:
            detector.save(self.folder / BEST)

    def best_weights(self) -> Mapping[str, np.ndarray]:
        if self.best is None:
            self.best = load(self.folder / BEST).weights()
        return self.best

    def save(self, position: Position, detector: Detector, trainer: Any) -> None:
        if not self.writes:
            return
        detector.save(self.folder / LAST)
        tensors = {WEIGHTS + name: value for name, value in detector.weights().items()}
        tensors |= {TRAINER + name: value for name, value in trainer.state().items()}
        size = (self.folder / HISTORY).stat().st_size if (self.folder / HISTORY).exists() else 0
        metadata = {"position": json.dumps(asdict(position)), "history": str(size), "sha256": digest(tensors)}
        safetensors.write(self.folder / STATE, Contents(tensors, metadata))

    def close(self) -> None:
        if self._events:
            self._events.close()

    def _read_state(self) -> Contents | None:
        path = self.folder / STATE
        if not path.exists():
            return None
        state = safetensors.read(path)
        if not {"position", "history", "sha256"} <= set(state.metadata) or digest(state.tensors) != state.metadata["sha256"]:
            raise InputError(f"{path}: not a state that this library has written, or altered since")
        return state

    def _rewind(self, size: int) -> None:
        """Read the history up to a size in bytes, and cut off what was written behind it."""
        path = self.folder / HISTORY
        text = path.read_bytes()[:size] if path.exists() else b""
        if len(text) < size:
            raise InputError(f"{path}: has {len(text)} bytes, expected the {size} that {STATE} was written with")
        self.history = [json.loads(line) for line in text.splitlines()]
        if self.writes and path.exists():
            with open(path, "r+b") as file:
                file.truncate(size)


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); expected the folder of a training run") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error


def _events(folder: Path, steps: int) -> Any:
    """A writer of TensorBoard's event files, which are the same for all frameworks; None where its package is not there."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    for old in folder.glob("events.out.tfevents.*") if not steps else ():
        old.unlink()
    return SummaryWriter(str(folder), purge_step=steps + 1 if steps else None)
