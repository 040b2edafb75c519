"""Exported files, run by what runs them elsewhere, compute the specification's scores for any number of snippets."""
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import wvad_core as wv
from cases import CONFIGS, detector, video
from compare import OUTPUT, assert_close
from wvad_core.backend import find_backend
from wvad_core.backend import export_formats
from wvad_core.origin import Origin, from_dict

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.on_the_cpu  # from where networks are exported
SIZES = [(1, 1), (5, 2), (1, 5), (10, 200), (2, 433)]  # crops and snippets
# A configuration of every method, and more of one whose networks differ.
CASES = [("adplg", CONFIGS["adplg"][1] | {"depth": 1, "window_sizes": (3,)}), ("ar-net", CONFIGS["ar-net"][4]),
         ("ar-net", CONFIGS["ar-net"][5]), ("bn-wvad", CONFIGS["bn-wvad"][1]), ("rtfm", CONFIGS["rtfm"][0]),
         ("clip-tsa", CONFIGS["clip-tsa"][0]), ("deep-mil", CONFIGS["deep-mil"][1]), ("mgfn", CONFIGS["mgfn"][0]),
         ("pel4vad", CONFIGS["pel4vad"][0]),
         ("s3r", CONFIGS["s3r"][0]),
         ("saa", CONFIGS["saa"][0]), ("ssrl", CONFIGS["ssrl"][1]), ("ur-dmu", CONFIGS["ur-dmu"][0]),
         ("vadclip", CONFIGS["vadclip"][1] | {"text": "features", "depth": 1})]
SMALL = CASES[2]
SLOW = ("clip-tsa", "deep-mil", "rtfm", "s3r", "saa", "ur-dmu")
"""Of the methods, those that are exported for --slow: of the blocks of ssrl, bn-wvad and pel4vad; clip-tsa's attention is exported
by tests/published/test_clip_tsa.py too."""
ORIGIN = Origin("i3d-inception", {"scale": "symmetric"}, 16, "1a" * 32, "float32", "roc-ng", {"tail": "drop"}, "crops", "float32")
# Known difference: what a format cannot leave open, as {(suffix, layout): crops}.
FIXED_CROPS = {(".mindir", "patches"): 10}  # MindSpore loses the number of patches when it cuts an axis of unknown size


def onnx_runner(path):
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(path)
    assert [node.name for node in session.get_inputs()] == ["features"]
    assert [(node.name, node.shape) for node in session.get_outputs()] == [("scores", ["steps"])]
    return lambda features: session.run(None, {"features": features})[0], session.get_modelmeta().custom_metadata_map


def mindir_runner(path):
    import mindspore as ms
    from mindspore.train.serialization import mindir_model

    model = mindir_model()
    model.ParseFromString(path.read_bytes())
    (given,), (_,) = model.graph.input, model.graph.output
    assert given.name.endswith(":features")
    dims = [None if size == -1 else size for size in given.tensor[0].dims]
    cell = ms.nn.GraphCell(ms.load(str(path)))
    cell.set_inputs(ms.Tensor(shape=dims, dtype=ms.float32))
    return lambda features: cell(ms.Tensor(features)).asnumpy(), dict(model.user_info)


RUNNERS = {".onnx": onnx_runner, ".mindir": mindir_runner}
SUFFIXES = [pytest.param(".onnx", marks=pytest.mark.needs("torch")),
            pytest.param(".mindir", marks=pytest.mark.needs("mindspore"))]


def test_every_format_is_run_here():
    assert set(export_formats()) == set(RUNNERS) and {method for method, _ in CASES} == set(wv.list_methods())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("method, config", [pytest.param(*case, marks=pytest.mark.slow if case[0] in SLOW else []) for case in CASES])
def test_scores(suffix, method, config, tmp_path):
    made, path = replace(detector(method, config, "numpy"), origin=ORIGIN), tmp_path / f"an.export{suffix}"
    wv.export(made, path)
    assert list(tmp_path.iterdir()) == [path] and str(ROOT).encode() not in path.read_bytes()
    run, metadata = RUNNERS[suffix](path)
    assert metadata["method"] == method and from_dict(json.loads(metadata["origin"]), "metadata") == ORIGIN
    assert json.loads(metadata["config"]) == json.loads(json.dumps(made.config.as_dict()))
    for crops, steps in SIZES:
        features = video(method, config, steps, FIXED_CROPS.get((suffix, made.config.layout), crops))
        scores = run(features)
        assert scores.dtype == np.float32
        assert_close(scores, made.score(features), OUTPUT, name=f"{crops} crops, {steps} snippets")


def torch_breaks(network, features):
    import torch

    return torch.linalg.eigvals(features.transpose(-1, -2) @ features).real


def mindspore_breaks(network, features):
    try:
        return features
    except ValueError:
        return features


@pytest.mark.parametrize("suffix, forward, breaks, reason", [
    pytest.param(".onnx", "forward", torch_breaks, "linalg_eig", marks=pytest.mark.needs("torch")),
    pytest.param(".mindir", "construct", mindspore_breaks, "Unsupported statement", marks=pytest.mark.needs("mindspore"))])
def test_what_cannot_be_expressed(suffix, forward, breaks, reason, tmp_path, monkeypatch):
    method, config = SMALL
    made, framework = detector(method, config, "numpy"), export_formats()[suffix].load()
    network = framework.build(method, made.config, made.weights(), "cpu", "float32", 0)
    monkeypatch.setattr(type(network), forward, breaks)
    monkeypatch.chdir(tmp_path)  # MindSpore's compiler leaves a report in the working directory
    with pytest.raises(wv.InputError, match=f"x{suffix}: .* cannot express this {method} detector: .*{reason}") as error:
        wv.export(made, tmp_path / "out" / f"x{suffix}")
    assert "\n" not in str(error.value) and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_weights_that_one_file_does_not_hold(suffix, tmp_path, monkeypatch):
    module = export_formats()[suffix].module.replace("backend", "export")
    monkeypatch.setattr(f"{module}.MOST", 100)
    with pytest.raises(wv.InputError, match="its weights take 0.0 GiB"):
        wv.export(detector(*SMALL, "numpy"), tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.needs("torch")
def test_a_package_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.delitem(sys.modules, "wvad_torch.export", raising=False)
    with pytest.raises(wv.InputError, match='onnxscript.*: pip install "torch[^ ]*" "onnx[^ ]*" "onnxscript') as error:
        wv.export(detector(*SMALL, "numpy"), tmp_path / "x.onnx")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_format_that_is_not_known(tmp_path):
    with pytest.raises(wv.InputError, match="x.tflite: cannot export to .tflite; the formats are .mindir, .onnx"):
        wv.export(detector(*SMALL, "numpy"), tmp_path / "x.tflite")


def test_the_specification_exports_nothing(tmp_path):
    with pytest.raises(NotImplementedError, match="no format"):
        find_backend("numpy").export(None, tmp_path / "x", {})
