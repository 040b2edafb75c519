"""The tools, importable as the modules that they are; a small dataset to run them on; a wheel."""
from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worlds import World, make

ROOT = Path(__file__).parents[2]
SOURCES = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", "wvad_core", "backends", "tools", "tests")

sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the sources."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", copy / "dist", copy],
                   check=True, capture_output=True)
    return next((copy / "dist").glob("*.whl"))
