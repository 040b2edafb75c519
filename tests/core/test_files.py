"""Files that are written whole or not at all: errors of the disk, and what killed processes leave."""
import errno
import json
import os

import numpy as np
import pytest

from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.formats import safetensors
from wvad_core.errors import Failure, InputError
from wvad_core.files import leftovers, write_json, written_whole


@pytest.mark.parametrize("code, kind", [("ENOSPC", Failure), ("EDQUOT", Failure), ("EIO", Failure), ("EFBIG", Failure),
                                        ("EACCES", InputError), ("ENOENT", InputError)])
@pytest.mark.parametrize("call", ["replace", "tempfile"])
def test_a_disk_that_takes_no_more_is_a_failure_and_leaves_what_was_there(tmp_path, monkeypatch, code, kind, call):
    def fails(*_, **__):
        raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

    write_json(tmp_path / "a.json", {"a": 1})
    monkeypatch.setattr(*{"replace": (os, "replace"), "tempfile": ("tempfile.mkstemp",)}[call], fails)
    with pytest.raises(kind, match=rf": cannot be written \({os.strerror(getattr(errno, code))}\)$") as raised:
        write_json(tmp_path / "a.json", {"a": 2})
    assert type(raised.value) is kind and str(tmp_path) in str(raised.value)
    assert os.listdir(tmp_path) == ["a.json"] and json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_safetensors_says_in_a_text_that_a_disk_is_full(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise safetensors.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors, "save_file", fails)
    with pytest.raises(Failure, match=r"a.safetensors: cannot be written \(No space left on device\)$"):
        safetensors.write(tmp_path / "a.safetensors", Contents({"a": np.zeros(3)}, {}))
    assert not os.listdir(tmp_path)


def test_leftovers_are_the_temporary_files_of_this_name_alone(tmp_path):
    """Neither others' files nor what only looks like one: links, folders, other names."""
    others = [".a-12345678.pt", ".a-1234567.json", ".b-12345678.json", "a.json", ".a-12345678.json.bak", ".A-12345678.json",
              "x.a-12345678.json", ".a-1234567Z.json"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".a-link_abc.json").symlink_to(tmp_path / "a.json")
    (tmp_path / ".a-folder__.json").mkdir()
    with written_whole(tmp_path / "a.json") as temporary:
        assert leftovers(tmp_path / "a.json") == [temporary]
    assert leftovers(tmp_path / "a.json") == [] and leftovers(tmp_path / "nowhere" / "a.json") == []
