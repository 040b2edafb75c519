"""python killed_extractions.py KILLS FOLDER: an extraction that is left alone, into FOLDER/whole, and two at a time into
FOLDER/killed, which are killed so many times at random moments and begun again. Prints what was there at each kill.

FOLDER has videos/, own.json, weights.safetensors. Every extraction is a process forked from this one.
"""
import json
import multiprocessing
import random
import shutil
import sys
import time
from pathlib import Path

import filelock  # noqa: F401  imported late by what is forked

from wvad_core.cli import extract, process


def run(folder: Path, output: str) -> None:
    process.run(extract.main, ["--quiet", str(folder / "videos"), "--recipe", str(folder / "own.json"), "--backend", "numpy",
                               "--checkpoint", str(folder / "weights.safetensors"), "--output", str(folder / output)])


def begun(folder: Path, output: str) -> multiprocessing.Process:
    made = multiprocessing.get_context("fork").Process(target=run, args=(folder, output))
    made.start()
    return made


def ended(*processes: multiprocessing.Process) -> list[int]:
    for one in processes:
        one.join()
    return [one.exitcode for one in processes]


def main(kills: int, folder: Path) -> None:
    begin = time.monotonic()
    assert ended(begun(folder, "whole")) == [0]
    whole, moments, seen = time.monotonic() - begin, random.Random(0), []
    while len(seen) < kills:
        pair = [begun(folder, "killed"), begun(folder, "killed")]
        for one in pair:
            time.sleep(moments.uniform(0, whole / 3))
            one.kill()
        if 0 in ended(*pair):  # at its end before it was killed: once more from the start
            shutil.rmtree(folder / "killed")
            continue
        killed = folder / "killed"
        seen += 2 * [sorted(path.name for path in killed.iterdir()) if killed.exists() else []]
    assert ended(begun(folder, "killed"), begun(folder, "killed")) == [0, 0]
    print(json.dumps(seen))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
