"""Planted faults: what a library with a fault would do, each of which the harness must report as what it is."""
from __future__ import annotations

import os
import time
from pathlib import Path
from random import Random

import numpy as np
from trials import Trial, equals, kind

from wvad_core.errors import Failure, InputError

VALUES = np.arange(4, dtype=np.float32)


def _raise(error: BaseException) -> None:
    raise error


def planted(name: str, act, **given) -> None:
    """A kind "planted, NAME" whose file is read by `act(path)`, or by `given`."""
    def make(rng: Random, folder: Path) -> Trial:
        (folder / "x").write_bytes(b"x")
        return Trial(lambda: act(folder / "x"), given.get("right", equals(VALUES)), given.get("refusable", True))

    kind(f"planted, {name}")(make)


def changed(change) -> None:
    def act(path: Path) -> np.ndarray:
        change(path)
        return VALUES

    return act


planted("right", lambda path: VALUES.copy())
planted("refused", lambda path: _raise(InputError(f"{path}: no")))
planted("failure", lambda path: _raise(Failure("a\n  listed")))
for name, value in {"one bit": np.nextafter(VALUES, 9), "dtype": VALUES.astype(np.float64), "shape": VALUES[None],
                    "nan": VALUES * np.nan,
                    "negative zero": VALUES * -1 * -1 - np.float32([0, 0, 0, 1])}.items():
    planted(f"other result, {name}", lambda path, value=value: value)
planted("other result, taken", lambda path: VALUES, right=None)
planted("wrongly refused", lambda path: _raise(InputError("no")), refusable=False)
planted("traceback", lambda path: _raise(KeyError("x")))
planted("traceback, system exit", lambda path: _raise(SystemExit(0)))
planted("message, two lines", lambda path: _raise(_Raw("a\nb")))
planted("message, none", lambda path: _raise(InputError("")))
planted("message, cursor", lambda path: _raise(_Raw("a\x1b[2J")))
planted("crash", lambda path: os.abort())
planted("crash, quiet exit", lambda path: os._exit(0))
planted("hang", lambda path: np.full(500 << 20, 1, np.uint8) is time.sleep(1e6))
planted("over 1 GB", lambda path: np.full(1100 << 20, 1, np.uint8)[:4] * 0 + VALUES)
planted("files, new", changed(lambda path: path.with_name("new").touch()))
planted("files, outside", changed(lambda path: Path("ran").touch()))
planted("files, in the home", changed(lambda path: Path.home().joinpath("x").touch()))
planted("files, canary", changed(lambda path: Path("canary.txt").write_text("canary\n" * 20)))
planted("files, removed", changed(lambda path: path.unlink()))
planted("files, mode", changed(lambda path: path.chmod(0o777)))


class _Raw(InputError):
    """An error whose message is as it comes."""

    def __str__(self) -> str:
        return str(self.args[0])
