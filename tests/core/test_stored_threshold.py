"""A detector's threshold, kept in its checkpoint under the hash."""
import copy
import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import pytest

import wvad_core as wv
from wvad_core import models
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents, checksum
from wvad_core.checkpoints.threshold import Threshold
from wvad_core.cli import convert, inspect

CONFIG = {"feature_dim": 8, "hidden_dims": (8, 4), "attention_dim": 8}
FOUND = Threshold(0.7, 0.6, 1.5, 3.0, false_alarms=3, videos=20, hours=4.0, wanted_rate=1.0)


@pytest.fixture
def saved(tmp_path):
    replace(wv.create("saa", seed=0, **CONFIG), threshold=FOUND).save(tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_it_is_saved_loaded_and_converted_in_all_formats(suffix, saved, tmp_path, capsys):
    convert.main([str(saved), str(tmp_path / f"b{suffix}")])
    loaded = wv.load(tmp_path / f"b{suffix}")
    assert loaded.threshold == FOUND and loaded.threshold.rate == 0.75
    assert copy.deepcopy(loaded).threshold == pickle.loads(pickle.dumps(loaded)).threshold == FOUND
    capsys.readouterr()
    inspect.main([str(tmp_path / f"b{suffix}")])
    out = " ".join(capsys.readouterr().out.split())
    assert ("threshold 0.7 (until below 0.6, from 1.5 s on, gaps up to 3 s closed; 3 false alarms in 4.00 h of 20 normal videos, "
            "0.75 an hour)") in out


def test_a_detector_without_one_has_none(saved, tmp_path):
    replace(wv.load(saved), threshold=None).save(tmp_path / "b.safetensors")
    assert wv.load(tmp_path / "b.safetensors").threshold is None
    assert "threshold" not in formats.read(tmp_path / "b.safetensors")[1].metadata


def test_settings_that_change_the_scores_take_it_away(saved):
    assert wv.load(saved, leaky_slope=0.3).threshold is None
    assert wv.load(saved, leaky_slope=0.2).threshold == wv.load(saved, norm_weight=1.0).threshold == FOUND


def test_an_export_has_it_in_its_metadata(saved, tmp_path, monkeypatch):
    seen = {}
    writer = SimpleNamespace(build=lambda *_: None, export=lambda network, path, metadata: seen.update(metadata))
    monkeypatch.setattr(models, "export_formats", lambda: {".onnx": SimpleNamespace(load=lambda: writer)})
    wv.export(wv.load(saved), tmp_path / "a.onnx")
    assert json.loads(seen["threshold"])["false_alarms"] == 3


def altered(path, text, hashed):
    kind, contents = formats.read(path)
    metadata = {**contents.metadata, "threshold": text}
    if hashed:
        metadata["sha256"] = checksum(contents.tensors, metadata)
    kind.write(path, Contents(contents.tensors, metadata))


def test_it_is_under_the_hash(saved):
    altered(saved, json.dumps({"high": 0.1, "low": 0.1}), hashed=False)
    with pytest.raises(wv.InputError, match="do not have the hash in the metadata"):
        wv.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"high": 1}', '{"high": 1, "low": 2}', '{"high": "1", "low": 0}',
                                  '{"high": NaN, "low": 0}', '{"high": 1, "low": 0, "more": 1}', "[" * 100000])
def test_one_that_this_library_does_not_write_is_refused(text, saved):
    altered(saved, text, hashed=True)
    with pytest.raises(wv.InputError, match="a.safetensors: the entry threshold of the metadata is not what this library writes$"):
        wv.load(saved)
