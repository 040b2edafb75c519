"""Files of a run folder that are far larger than any run's: one line, in little memory."""
import hashlib
import os
import tracemalloc
from types import SimpleNamespace

import pytest

from wvad_core.errors import InputError
from wvad_core.training import run_files, run_folder

SIZE = 200 * 10**9


@pytest.fixture
def little_memory():
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_a_recipe_with_a_hole(tmp_path, little_memory):
    (path := tmp_path / "recipe.json").write_text("{}")
    assert run_files.read_json(path) == {}
    os.truncate(path, SIZE)
    with pytest.raises(InputError, match="recipe.json: more than 16777216 bytes, expected what a training run writes"):
        run_files.read_json(path)


def test_a_history_with_a_hole_behind_the_save(tmp_path, little_memory):
    text = b'{"stage": 1}\n'
    (path := tmp_path / "history.jsonl").write_bytes(text)
    os.truncate(path, SIZE)
    state = SimpleNamespace(size=len(text), sha256=hashlib.sha256(text).hexdigest())
    assert run_folder._read_history(path, state) == [{"stage": 1}]
    for size in (SIZE + 1, 10**30):
        with pytest.raises(InputError, match=f"history.jsonl: has {SIZE} bytes, expected the {size} that"):
            run_folder._read_history(path, SimpleNamespace(size=size, sha256=""))
