"""Progress bars: on a terminal alone, and not where somebody wants it quiet."""
import io
import logging
from pathlib import Path

import pytest

import wvad_core
from wvad_core.progress import LOGGER, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("file, level, hidden, shown", [
    (Terminal, logging.NOTSET, False, True), (Terminal, logging.INFO, False, True), (Terminal, logging.WARNING, False, False),
    (Terminal, logging.NOTSET, True, False), (io.StringIO, logging.NOTSET, False, False)])
def test_who_sees_a_bar(file, level, hidden, shown):
    stream, before = file(), LOGGER.level
    LOGGER.setLevel(level)
    try:
        assert list(progress_bar([1, 2], "counting", hidden, file=stream, mininterval=0)) == [1, 2]
    finally:
        LOGGER.setLevel(before)
    assert ("counting" in stream.getvalue()) == shown


def test_nobody_else_makes_bars():
    """So that -q, other processes and files see none."""
    package = Path(wvad_core.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "import tqdm" in path.read_text(encoding="utf-8")] == ["progress.py"]
