"""The suites of hostile inputs: which modules make them, and how many of each. Their figures are in docs/reliability.md."""
from __future__ import annotations

import importlib
from pathlib import Path

import trials
from harness import Result, run

FOLDERS = ("run_folder_cases",)
"""Those of run folders, which PyTorch trains in."""
INPUTS = ("checkpoint_cases", "pickle_cases", "array_cases", "table_cases", "command_cases")
"""The modules whose kinds are read by the core and the NumPy backend."""


def kinds(modules: tuple[str, ...]) -> list[str]:
    """The kinds that the modules register, in their order. A worker imports them too; none of them is imported for itself."""
    for name in modules:
        importlib.import_module(name)
    return [name for name, function in trials.KINDS.items()
            if any(function.__module__ == module for module in modules)]


def inputs(count: int, seed: int, folder: Path) -> list[Result]:
    """Hostile inputs of all kinds, so many in all."""
    return run(trials.cases(count, seed, kinds(INPUTS)), INPUTS, folder)


def run_folders(count: int, seed: int, folder: Path) -> list[Result]:
    """Damaged run folders, resumed: so many, and at least one of each kind."""
    return run(trials.cases(count, seed, kinds(FOLDERS)), FOLDERS, folder)
