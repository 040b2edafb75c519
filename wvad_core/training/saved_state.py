"""state.safetensors: all that a run goes on from, in one file that is whole or not there; nothing in it is believed unchecked.

    weights.NAME    as the last step before the save left them
    trainer.NAME    what `Trainer.state` gave: moments, counters, the method's memory
    best.NAME       the best weights of the stage at hand, after its first validation
    random.RANK     of each process what dropout and noise are drawn from next, in JSON, as bytes; where it does not begin
                    anew from the seed (a run that SIGTERM ended)

Metadata: `format`; in JSON `plan` (what recipe.json has), `data` (digests of the table and of the features), `position`
(`loop.Position`) and `history` (size and SHA-256 of history.jsonl); `sha256`, of all these and of the tensors.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.contents import Contents, digest
from ..checkpoints.formats import safetensors
from ..errors import InputError, one_line
from .loop import Position
from .recipe import is_number, is_whole

FORMAT = "2"
PARTS = ("weights.", "trainer.", "best.", "random.")
"""What the names of the tensors begin with."""
KEYS = ("plan", "data", "position", "history")
DEEPEST = 32
"""Levels that JSON may have; more are no run's, and too much for whatever walks through them."""


@dataclass(frozen=True)
class State:
    """What the file holds. position: as it says, to be held against the history. size, sha256: of the history's file."""
    plan: Mapping[str, Any]
    data: Mapping[str, str]
    position: Mapping[str, Any]
    size: int
    sha256: str
    weights: Mapping[str, np.ndarray]
    trainer: Mapping[str, np.ndarray]
    best: Mapping[str, np.ndarray] = field(default_factory=dict)
    random: tuple[str, ...] = ()


def write(path: Path, state: State) -> None:
    """Write a state, whole or not at all. Raises InputError where the folder cannot be written, Failure on a full disk."""
    random = {str(rank): np.frombuffer(text.encode(), np.uint8) for rank, text in enumerate(state.random)}
    tensors = {part + name: value for part, values in zip(PARTS, (state.weights, state.trainer, state.best, random))
               for name, value in values.items()}
    values = (state.plan, state.data, state.position, [state.size, state.sha256])
    metadata = {"format": FORMAT} | {key: json.dumps(value) for key, value in zip(KEYS, values)}
    safetensors.write(path, Contents(tensors, metadata | {"sha256": _hash(tensors, metadata)}))


def read(path: Path) -> State:
    """The state in a file. Raises InputError for one that is none, is of another format, or has been altered."""
    found = safetensors.read(path)
    tensors, metadata = found.tensors, {key: found.metadata[key] for key in ("format", *KEYS) if key in found.metadata}
    if "format" not in metadata and "position" in metadata or metadata.get("format", FORMAT) != FORMAT:
        raise InputError(f"{path}: a state in format {one_line(metadata.get('format', 1), 20)}, expected {FORMAT}; another version of "
                         "wvad wrote it, and can go on with it")
    if len(metadata) <= len(KEYS) or _hash(tensors, metadata) != found.metadata.get("sha256"):
        raise InputError(f"{path}: not a state that this library has written, or altered since")
    plan, data, position, history = (parsed(metadata[key], f"{path}: {key}") for key in KEYS)
    if not all(isinstance(value, dict) for value in (plan, data, position)) or not (
            isinstance(history, list) and len(history) == 2 and is_whole(history[0]) and history[0] >= 0):
        raise InputError(f"{path}: its plan, data, position or history is not what training writes")
    weights, trainer, best, random = ({name.removeprefix(part): value for name, value in tensors.items()
                                       if name.startswith(part)} for part in PARTS)
    size, sha256 = history
    return State(plan, data, position, size, sha256, weights, trainer, best, _texts(random, path))


def parsed(text: str | bytes, source: str) -> Any:
    """What a text in JSON says. Raises InputError, which names `source`, for what is no JSON, or nested too deep."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON ({one_line(error, 100)})") from error
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list))
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]
    if level:
        raise InputError(f"{source}: nested more than {DEEPEST} levels deep, expected what training writes")
    return value


def replayed(history: list[Any], stage: int, source: str) -> Position:
    """Where training stands after a history, in the stage of this number. Raises InputError for lines that are none."""
    position = Position(stage)
    for number, line in enumerate(history, 1):
        if not (isinstance(line, dict) and {"stage", "step"} < line.keys() and all(map(is_number, line.values()))
                and is_whole(line["stage"]) and is_whole(line["step"]) and 1 <= line["stage"] <= stage + 1):
            raise InputError(f"{source}, line {number}: not what training writes before stage {stage + 2}")
        if line["stage"] <= stage:
            continue
        validation = "validation" in line
        if line["step"] != position.step + (not validation):
            raise InputError(f"{source}, line {number}: step {line['step']}, expected {position.step + (not validation)}")
        position = position.validated(line["validation"]) if validation else position.moved()
    return position


def check_position(state: State, history: list[Any], source: str) -> Position:
    """The position of a state, which has to be the one that the history leads to. Raises InputError where it is not."""
    stage = state.position.get("stage")
    if not (is_whole(stage) and stage >= 0):
        raise InputError(f"{source}: stage {one_line(stage, 40)}, expected a whole number from 0")
    position = replayed(history, stage, str(Path(source).with_name("history.jsonl")))
    if asdict(position) != state.position:
        raise InputError(f"{source}: its position {one_line(state.position, 100)} is not the one that its history leads to, "
                         f"{asdict(position)}")
    return position


def _texts(random: Mapping[str, np.ndarray], path: Path) -> tuple[str, ...]:
    try:
        return tuple(bytes(random[str(rank)]).decode() for rank in range(len(random)))
    except (KeyError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: its random state is not what training writes") from error


def _hash(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> str:
    lines = [digest(tensors), *(f"{key} {metadata[key]}" for key in sorted(metadata))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
