"""The tools, importable as the modules that they are, and a small dataset to run them on."""
from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worlds import World, make

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)
