"""python worker.py FOLDER: runs the cases of FOLDER/cases.json from its entry "from" on, all in this process, and writes a line
of JSON for each: [outcome, detail, peak of memory in bytes]; null at the end. harness.py starts it,
and takes it to account where it dies.
"""
from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import re
import shutil
import sys
import traceback
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "parity")]

import trials  # noqa: E402
from trials import REFUSED, RIGHT, Trial  # noqa: E402

from wvad_core.errors import Failure, InputError  # noqa: E402

MOST = 1 << 30
"""Bytes that a case may take besides what the process has had before."""


def main(folder: Path) -> None:
    told, given = os.fdopen(os.dup(1), "w"), json.loads((folder / "cases.json").read_text())
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    faulthandler.enable()
    sys.set_int_max_str_digits(4300)
    for name in given["modules"]:
        importlib.import_module(name)
    place = folder / "place"
    settle(place)
    start = peak()
    for name, seed in given["cases"][given["from"]:]:
        outcome, detail = run(name, seed, place)
        highest = peak()
        if highest > start + MOST:
            outcome, detail = "over 1 GB", f"{(highest - start) / 2**30:.1f} GiB; {outcome} {detail}"
        told.write(json.dumps([outcome, detail[:2000], highest]) + "\n")
        told.flush()
        if highest > start + MOST:  # the peak stays: the others in a process of their own
            return
    told.write("null\n")


def settle(place: Path) -> None:
    """Have everything that a library may write beside its inputs lie in `place`, and canaries in the folder around the case."""
    shutil.rmtree(place, ignore_errors=True)
    for name in ("home", "tmp", "cache", "outside"):
        (place / name).mkdir(parents=True)
    (place / "outside" / "canary.txt").write_text("canary\n" * 20)
    sys.modules.setdefault("matplotlib", None)  # which writes where it likes; pictures are no input
    os.environ.update(HOME=str(place / "home"), TMPDIR=str(place / "tmp"), WVAD_CACHE=str(place / "cache"))
    (place / "cache").chmod(0o700)
    os.chdir(place / "outside")


def run(name: str, seed: int, place: Path) -> tuple[str, str]:
    """Make the input of a case, try it, and judge: the outcome, and what is to be said of it."""
    case = place / "case"
    remove(case)
    case.mkdir()
    try:
        trial = trials.KINDS[name](Random(f"{name} {seed}"), case)
    except Exception:
        return "traceback", f"in making the case: {traceback.format_exc()[-900:]}"
    before = listing(place, trial.output)
    outcome, detail = attempted(trial)
    after = listing(place, trial.output)
    if before != after:
        changed = sorted(path for path in before | after if before.get(path) != after.get(path))
        outcome, detail = "files", f"changed: {', '.join(changed[:5])}; {outcome} {detail}"
        settle(place)
    return outcome, detail


def attempted(trial: Trial) -> tuple[str, str]:
    try:
        found = trial.act()
    except (InputError, Failure) as error:
        if flaw := trials.flaw_of_message(str(error)):
            return "message", flaw
        return (REFUSED if trial.refusable else "wrongly refused"), str(error)
    except BaseException:
        return "traceback", traceback.format_exc()[-900:]
    if trial.right is None:
        return "other result", "taken, expected a refusal"
    return (RIGHT, "") if trial.right(found) else ("other result", "taken, with another result")


def listing(folder: Path, output: Path | None) -> dict[str, Any]:
    """{path: what changes with any write}, without what may be written: the output and the cache."""
    found, folders = {}, [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                path = Path(entry.path)
                if path in (output, folder / "cache"):
                    continue
                stat = entry.stat(follow_symlinks=False)
                is_folder = entry.is_dir(follow_symlinks=False)
                found[entry.path] = (stat.st_mode, stat.st_ino, 0 if is_folder else (stat.st_size, stat.st_mtime_ns))
                if is_folder:
                    folders.append(path)
    return found


def remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def peak() -> int:
    """The most bytes that this process has had in memory."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
