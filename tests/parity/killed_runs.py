"""python killed_runs.py METHOD FRAMEWORK KILLS FOLDER: a run that is left alone, in FOLDER/whole, and one that is killed so
many times at random moments and resumed each time, in FOLDER/killed. Prints the lines of history at each kill.

Every run is a process forked from this one, which has imported the framework and computed nothing.

`killed` does that in a process of its own, and `check_ends` holds the two runs' files against each other.
"""
import importlib
import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import devices
import numpy as np
import pytest

from compare import assert_close
from cases import CONFIGS, batch, video
from wvad_core.checkpoints.formats import safetensors
from wvad_core.registry import specification
from wvad_core.training.loop import train
from wvad_core.training.overrides import resolve
from wvad_core.training.run_folder import BEST, HISTORY, LAST, STATE, Run

LATER = {"torch": ["torch._dynamo"]}
"""What a framework imports when its first optimiser is made, which takes longer than a run."""
RECIPE = {"segments": 16, "videos": 3, "steps": 24, "learning_rate": 1e-3}
OPTIONS = {"evaluate_every": 5, "save_every": 3}


def run(method: str, framework: str, folder: Path) -> None:
    settings = CONFIGS[method][-1]
    published = next(iter(specification(method).RECIPES.values()))
    found = resolve(RECIPE | {"groups": published.get("groups", ())}, specification(method).Config, settings | OPTIONS, method)
    features = video(method, settings, 16)
    training_set = SimpleNamespace(features=[features], origin=None, batch=lambda step, *_: batch(method, settings, 16, seed=step))

    def validate(detector):
        """How much the scores vary: a number that any change of the weights changes."""
        return float(np.abs(np.diff(detector.score(features))).sum())

    train(method, found.config, training_set, found.recipe, framework, validate=validate, journal=Run(folder),
          options=found.options)


def begun(method: str, framework: str, folder: Path) -> multiprocessing.Process:
    folder.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=run, args=(method, framework, folder))
    process.start()
    return process


def written(folder: Path) -> int:
    """The lines of a run's history."""
    return len((folder / HISTORY).read_bytes().splitlines()) if (folder / HISTORY).exists() else 0


def main(method: str, framework: str, kills: int, folder: Path) -> None:
    devices.settle(framework)
    for module in LATER.get(framework, ()):
        importlib.import_module(module)
    process = begun(method, framework, folder / "whole")
    process.join()
    killed, moments, lines = folder / "killed", random.Random(0), []
    while len(lines) < kills:
        until = written(killed) + moments.randint(1, written(folder / "whole") // 3)
        process = begun(method, framework, killed)
        while process.is_alive() and written(killed) < until:
            time.sleep(moments.uniform(0, 0.01))
        process.kill()
        process.join()
        if process.exitcode == 0:  # at its end before it was killed: once more from the start
            shutil.rmtree(killed)
        else:
            lines.append(written(killed))
    process = begun(method, framework, folder / "killed")
    process.join()
    print(json.dumps(lines))
    sys.exit(process.exitcode)


def killed(method: str, framework: str, kills: int, folder: Path) -> list[int]:
    """Run this file. The lines of history at each kill."""
    command = [sys.executable, __file__, method, framework, str(kills), folder]
    done = subprocess.run(command, env=devices.environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check_ends(folder: Path, rounding: float) -> None:
    """Hold the files of both runs against each other: to the last bit, or where a framework does not round alike, to `rounding`."""
    histories = [list(map(json.loads, (folder / run / HISTORY).read_text().splitlines())) for run in ("whole", "killed")]
    for left_alone, resumed in zip(*histories, strict=True):
        assert resumed == (pytest.approx(left_alone, rel=rounding, abs=rounding) if rounding else left_alone)
    for file in (BEST, LAST, STATE):
        whole, resumed = (safetensors.read(folder / run / file).tensors for run in ("whole", "killed"))
        assert whole.keys() == resumed.keys()
        for tensor in whole:
            if rounding and whole[tensor].dtype == np.float32:
                assert_close(resumed[tensor], whole[tensor], rounding, 1e-8)
            else:
                assert np.array_equal(whole[tensor], resumed[tensor]), (file, tensor)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
