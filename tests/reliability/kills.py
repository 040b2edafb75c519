"""Runs that are killed at random moments and resumed: which methods, on which frameworks, how often."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import killed_runs

import wvad_core as wv

ROUNDING = {"torch": 0, "mindspore": 1e-3}
"""How far the ends of runs may be apart: MindSpore's kernels do not round alike in every run (see tests/parity/test_kills.py)."""
FEW = [("torch", "ur-dmu", 6)]
ALL = [(framework, method, 13 if framework == "torch" else 2) for framework in ROUNDING for method in wv.list_methods()]


def run(rows: list[tuple[str, str, int]], folder: Path) -> Iterator[tuple[str, str, int, str]]:
    """(framework, method, kills, what is wrong: "" where the runs end alike) for each row."""
    for framework, method, kills in rows:
        place = folder / f"{framework}-{method}"
        place.mkdir()
        try:
            killed_runs.killed(method, framework, kills, place)
            killed_runs.check_ends(place, ROUNDING[framework])
        except AssertionError as error:
            yield framework, method, kills, str(error)[:2000] or repr(error)
        else:
            yield framework, method, kills, ""
