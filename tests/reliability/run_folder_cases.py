"""Damaged run folders, resumed on PyTorch: the run ends as an undamaged one does, to the last bit, or one line says what is
wrong and every file is as it was."""
from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from array_cases import hostile_json
from damage import DAMAGES, sparse, special
from trials import Trial, equals, kind

import torch._dynamo  # noqa: F401, which the first optimiser would import

import wvad_core as wv
from wvad_core.training import saved_state
from wvad_core.training.run_folder import BEST, HISTORY, LAST, PLAN, STATE, Run

sys.modules.setdefault("tensorboardX", None)  # whose files are written beside, and never read
FILES = (PLAN, HISTORY, BEST, LAST, STATE)
SETTINGS = {"steps": 6, "videos": 2, "segments": 8, "save_every": 2, "evaluate_every": 3, "hidden_dims": (8, 6),
            "learning_rate": 1e-3}
CATEGORIES = ("Normal", "Fight")


class Stop(Exception):
    """Raised behind the save of step 4: what a kill leaves."""


@dataclass(frozen=True)
class Base:
    """A run that was stopped at step 4 of 6: its files, those of another one, and what it comes to."""
    files: dict[str, bytes]
    others: dict[str, bytes]
    result: dict[str, Any]


def write_data(folder: Path) -> dict[str, Any]:
    """A table and features; what `wv.train` takes of them."""
    rng = np.random.default_rng(0)
    lines = ["video,split,category,frames,intervals"]
    (folder / "features").mkdir()
    for number in range(8):
        split, category = ("train", "test")[number % 2], CATEGORIES[number // 2 % 2]
        lines.append(f"v{number},{split},{category},160,{'10-50' if number % 2 and category != 'Normal' else ''}")
        np.save(folder / "features" / f"v{number}.npy", rng.random((10, 16), np.float32))
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    return {"dataset": folder / "own.csv", "features": folder / "features"}


@cache
def base(folder: Path) -> Base:
    data = write_data(folder)
    stopped = []
    for seed in (0, 1):
        wv_save = Run.save

        def save(run: Run, position: Any, *given: Any) -> None:
            wv_save(run, position, *given)
            if position.step == 4:
                raise Stop

        Run.save = save
        try:
            wv.train("rtfm", backend="torch", device="cpu", output=folder / "run", seed=seed, **data, **SETTINGS)
        except Stop:
            pass
        finally:
            Run.save = wv_save
        stopped.append(read(folder / "run"))
        if seed == 0:
            result = resumed(folder / "run")
        shutil.rmtree(folder / "run")
    shutil.rmtree(folder / "features")
    (folder / "own.csv").unlink()
    return Base(*stopped, result)


def read(folder: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def resumed(folder: Path) -> dict[str, Any]:
    """What a run comes to: its weights and its history."""
    found = wv.train(resume=folder)
    return {"best": found.detector.weights(), "last": found.last.weights(), "history": (folder / HISTORY).read_bytes(),
            "files": wv.load(folder / BEST).weights()}


def resume(folder: Path) -> dict[str, Any]:
    """`resumed`; where that is refused, everything has to be as it was."""
    before = stamps(folder)
    try:
        return resumed(folder)
    except wv.InputError:
        assert stamps(folder) == before, f"refused, and changed: {set(stamps(folder)) ^ set(before)}"
        raise


def stamps(folder: Path) -> list[tuple[str, int, int]]:
    """What changes with any write."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [(path.name, path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths]


def trial(rng: Random, folder: Path, change: Callable[[Base, Path], None], right: bool = True,
          refusable: bool = True) -> Trial:
    made, run = base(folder), folder / "run"
    write_data(folder)
    run.mkdir()
    for name in FILES:
        (run / name).write_bytes(made.files[name])
    change(made, run)
    return Trial(lambda: resume(run), equals(made.result) if right else None, refusable, output=run)


@kind("run folder, undamaged")
def undamaged(rng: Random, folder: Path) -> Trial:
    """With what killed runs may leave behind, and what changes nothing."""
    how = rng.choice(("as it is", "temporary file", "line behind the save", "best is gone", "last is gone",
                      "a link to the folder"))

    def change(made: Base, run: Path) -> None:
        if how == "temporary file":
            (run / f".{rng.choice(('state', 'best', 'last'))}-abcd1234.safetensors").write_bytes(b"half")
        elif how == "line behind the save":
            with open(run / HISTORY, "ab") as file:
                file.write(rng.choice((b'{"stage": 1, "step": 5, "to', b"\n", rng.randbytes(30))))
        elif how.endswith("is gone"):
            (run / {"best is gone": BEST, "last is gone": LAST}[how]).unlink()

    made = trial(rng, folder, change, refusable=False)
    if how != "a link to the folder":
        return made
    (folder / "link").symlink_to(folder / "run")
    return replace(made, act=lambda: resume(folder / "link"))


@kind("run folder, a file damaged", 6)
def damaged(rng: Random, folder: Path) -> Trial:
    name, damage = rng.choice((*FILES, STATE, HISTORY)), DAMAGES[rng.choice(list(DAMAGES))]
    return trial(rng, folder, lambda made, run: (run / name).write_bytes(damage(made.files[name], rng)))


@kind("run folder, a file of another run, gone, special or sparse", 6)
def other_file(rng: Random, folder: Path) -> Trial:
    name, how = rng.choice(FILES), rng.choice(("other", "other", "gone", "special", "special", "sparse", "link"))

    def change(made: Base, run: Path) -> None:
        if how == "other":
            (run / name).write_bytes(made.others[name])
        elif how == "gone":
            (run / name).unlink()
        elif how == "special":
            special(run / name, rng)
        elif how == "link":
            for place in rng.sample((*FILES, ".lock", "report.json", "curves.png", "best"), 2):
                (run / place).unlink(missing_ok=True)
                (run / place).symlink_to(rng.choice((Path.cwd() / "canary.txt", Path.cwd() / "new", Path.cwd())))
        else:
            sparse(run / name, made.files[name], rng.choice((3, 200)) << 30)

    return trial(rng, folder, change)


@kind("run folder, values of recipe and history replaced", 5)
def values(rng: Random, folder: Path) -> Trial:
    def change(made: Base, run: Path) -> None:
        if rng.random() < 0.7:
            (run / PLAN).write_text(hostile_json(json.loads(made.files[PLAN]), rng))
        else:
            lines = made.files[HISTORY].splitlines()
            place = rng.randrange(len(lines))
            lines[place] = hostile_json(json.loads(lines[place]), rng).encode("utf-8", "surrogatepass")
            (run / HISTORY).write_bytes(b"\n".join(lines) + b"\n")

    return trial(rng, folder, change)


@kind("run folder, a crafted state with its hash", 8)
def crafted(rng: Random, folder: Path) -> Trial:
    """Tensors of other shapes, types and names, values that are not finite, positions that no history leads to; or other
    values that a tensor may have, which nobody can tell."""
    plausible = rng.random() < 0.1

    def change(made: Base, run: Path) -> None:
        state = saved_state.read(run / STATE)
        part = rng.choice(("weights", "trainer", "best", *(() if plausible else ("position", "plan", "size", "data"))))
        if part in ("weights", "trainer", "best"):
            tensors = dict(getattr(state, part))
            name = rng.choice(sorted(tensors))
            value = tensors.pop(name)
            how = "negative" if plausible else rng.choice(("shape", "dtype", "nan", "gone", "other name", "empty", "huge"))
            noise = {"shape": lambda: np.zeros((*value.shape, 3), value.dtype), "dtype": lambda: value.astype(np.float16),
                     "nan": lambda: np.full(value.shape, np.nan, np.float32), "empty": lambda: np.zeros(0, np.float32),
                     "huge": lambda: np.zeros((1000, 1000), np.float32), "negative": lambda: -np.abs(value) - 1}.get(how)
            if noise:
                tensors[name] = noise()
            elif how == "other name":
                tensors[name + "x"] = value
            changed = {part: tensors}
        elif part == "position":
            key = rng.choice(sorted(state.position))
            changed = {part: {**state.position, key: rng.choice((10**9, -1, None, "x", [], 1e300, 2.5, True, {}, 10**30))}}
        elif part == "size":
            changed = {part: rng.choice((0, 1, state.size - 1, 10**9, 10**20))}
        elif part == "plan":
            path = rng.choice((("recipe", "steps"), ("recipe", "learning_rate"), ("options", "seed"), ("method",),
                               ("backend",)))
            plan = json.loads(json.dumps(dict(state.plan)))
            inner = plan[path[0]] if len(path) == 2 else plan
            inner[path[-1]] = rng.choice((10**9, 0.5, "mindspore", "saa", None, []))
            changed = {part: plan}
        else:
            changed = {part: {**state.data, rng.choice([*state.data, "x"]): "0" * 64}}
        saved_state.write(run / STATE, replace(state, **changed))

    return replace(trial(rng, folder, change), **{"right": lambda found: True} if plausible else {})


@kind("run folder, other data", 3)
def data(rng: Random, folder: Path) -> Trial:
    """Features or labels that are not those that the run was begun with."""
    how = rng.choice(("features", "labels", "frames", "no table", "no features", "one value", "one video more"))

    def change(made: Base, run: Path) -> None:
        table, file = folder / "own.csv", folder / "features" / f"v{rng.choice((0, 2, 4, 6))}.npy"
        text = table.read_text()
        if how == "features":
            np.save(file, np.random.default_rng(9).random((10, 16), np.float32))
        elif how == "one value":
            array = np.load(file)
            array[rng.randrange(10), rng.randrange(16)] += 1e-3
            np.save(file, array)
        elif how == "labels":
            swapped = {"train,Normal": "train,Fight", "train,Fight": "train,Normal"}
            table.write_text(re.sub("|".join(swapped), lambda found: swapped[found[0]], text))
        elif how == "frames":
            table.write_text(text.replace("10-50", "10-60"))
        elif how == "no table":
            table.unlink()
        elif how == "no features":
            shutil.rmtree(folder / "features")
        else:
            table.write_text(text + "v8,train,Normal,160,\n")
            np.save(folder / "features" / "v8.npy", np.zeros((10, 16), np.float32))

    return trial(rng, folder, change, right=False)
