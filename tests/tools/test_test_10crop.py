"""The evaluation tool: what it prints and writes, on every backend."""
import json
import re
import shlex
import subprocess
import sys

import devices
import numpy as np
import pytest
import test_10crop as tool

import wvad_core as wv
from compare import OUTPUT, assert_close
from worlds import FRAMES
from wvad_core.data import Dataset

PNG = b"\x89PNG\r\n\x1a\n"


def run(capsys, world, **options):
    world.options |= options
    tool.main(world.argv)
    return capsys.readouterr().out


def expected(world):
    """The report by the library's own functions on NumPy."""
    detector = wv.load(world.options["checkpoint"])
    return wv.evaluate(detector, Dataset.open(world.options["dataset"], world.options["features"]))


def test_every_backend_gives_the_same(capsys, world, backend):
    run(capsys, world, backend=backend, device=devices.of(backend))
    reference = expected(world)
    report = json.loads((world.root / "results" / "report.json").read_text())
    assert report["about"]["backend"] == backend
    assert list(report["metrics"]) == list(reference.metrics)
    assert_close(list(report["metrics"].values()), list(reference.metrics.values()), 0, 1e-4)
    for name, found in reference.categories.items():
        assert report["categories"][name] == pytest.approx(found, abs=1e-4)
    with np.load(world.root / "results" / "scores.npz") as arrays:
        for video in reference.videos:
            assert_close(arrays[f"{video.name}/scores"], video.scores, OUTPUT, name=video.name)
            assert np.array_equal(arrays[f"{video.name}/abnormal_fraction"], video.abnormal_fraction)


def test_output_on_the_terminal(capsys, world):
    out = run(capsys, world)
    reference = expected(world)
    snippets = sum(-(-frames // 16) for frames in FRAMES.values())
    assert re.search(r"^method +bn-wvad$", out, re.M)
    assert re.search(rf"^backend +numpy {re.escape(np.__version__)}, cpu, float32$", out, re.M)
    assert f"{world.root}/own.csv, 5 test videos, {16 * snippets} frames\n" in out
    assert f"{world.root}/features\n" in out
    assert f"{world.root}/weights.safetensors (sha256 {reference.about['weights_sha256'][:12]})\n" in out
    assert f"\n\n{reference.table()}\n\nscored in " in out
    assert out.endswith(f"written to {world.root}/results: report.json, scores.npz, report.html and 8 pictures\n")


def test_report(capsys, world):
    run(capsys, world, method="bn-wvad")
    report = json.loads((world.root / "results" / "report.json").read_text())
    reference = expected(world)
    assert report["metrics"] == reference.metrics
    assert report["intervals_95"] == {key: list(found) for key, found in reference.intervals.items()}
    assert set(report["categories"]) == {"B1", "B2", "Fight", "Riot"}
    assert report["undefined"] == {}
    about = report["about"]
    assert about.pop("seconds") > 0
    assert about.pop("command") == shlex.join(["python", "tools/test_10crop.py", *world.argv])
    assert set(about["versions"]) == {"wvad", "python", "numpy"}
    assert about["precision"] == "float32"
    assert about.pop("features") == f"{world.root}/features"
    assert about.pop("checkpoint") == f"{world.root}/weights.safetensors"
    reference.about.pop("seconds")
    assert about == json.loads(json.dumps(reference.about))


def test_pictures(capsys, world):
    run(capsys, world)
    pictures = sorted((world.root / "results").rglob("*.png"))
    assert [path.relative_to(world.root / "results").as_posix() for path in pictures] == [
        "precision_recall.png", "roc.png", "scores/Fight02.png", "scores/Normal03.png", "scores/Normal04.png",
        "scores/Riot01.png", "scores/v=yZ2w___00-03_label_B1-B2-0.png", "videos.png"]
    assert all(path.read_bytes().startswith(PNG) for path in pictures)


def test_without_matplotlib(capsys, world, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    out = run(capsys, world)
    assert out.endswith("report.json, scores.npz, report.html; no pictures, matplotlib is not installed: pip install matplotlib\n")
    assert sorted(path.name for path in (world.root / "results").iterdir()) == [
        "report.html", "report.json", "scores.npz"]


def test_without_output_nothing_is_written(capsys, world):
    before = world.files()
    del world.options["output"]
    assert "written" not in run(capsys, world)
    assert world.files() == before


def test_ground_truth_of_ones_own(capsys, world):
    truth = np.zeros(16 * sum(-(-frames // 16) for frames in FRAMES.values()), np.uint8)
    truth[:24] = 1
    np.save(world.root / "gt.npy", truth)
    run(capsys, world, **{"ground-truth": world.root / "gt.npy"})
    with np.load(world.root / "results" / "scores.npz") as arrays:
        assert np.concatenate([arrays[f"{name}/abnormal_fraction"] for name in FRAMES]).tolist() == [1, 0.5] + [0] * 26
    report = json.loads((world.root / "results" / "report.json").read_text())
    assert report["undefined"]["Riot"].startswith("no abnormal frame")
    assert report["categories"]["Riot"] == {"videos": 1, "auc": None, "ap": None}


def test_a_tensor_in_a_file_of_its_own(capsys, world):
    """It goes to `wv.load`, which takes it for a published checkpoint and for no other."""
    np.save(world.root / "apart.npy", np.ones(3))
    with pytest.raises(wv.InputError, match="weights.safetensors: was given dictionary besides"):
        run(capsys, world, companion=f"dictionary={world.root}/apart.npy")


def test_one_class_only(capsys, world):
    lines = (world.root / "own.csv").read_text().splitlines()
    (world.root / "own.csv").write_text("\n".join([lines[0], *(line for line in lines if "Normal" in line)]))
    out = run(capsys, world)
    assert "nan for all videos: no abnormal frame: AUC, AP and average precision are undefined\n" in out
    assert json.loads((world.root / "results" / "report.json").read_text())["metrics"]["auc"] is None


def test_a_second_run_gives_the_same_bytes(capsys, world):
    """All but the seconds, and the hash of what they are among."""
    found = []
    for _ in range(2):
        run(capsys, world)
        files = {path.name: path.read_bytes() for path in (world.root / "results").rglob("*") if path.is_file()}
        files["report.json"] = re.sub(rb'"(seconds|sha256)": .*', b"", files["report.json"])
        found.append(files)
    assert found[0] == found[1]


def test_the_demo_needs_no_arguments(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tool.main([])
    out = capsys.readouterr().out
    assert "demo, 24 test videos" in out
    assert 90 < float(re.search(r"^AUC +([0-9.]+) ", out, re.M)[1]) < 100


def test_as_a_program(world):
    """Nothing but NumPy is loaded; a progress bar only on a terminal."""
    del world.options["output"]
    check = ("import runpy, sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
             "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
             "except SystemExit as end: assert end.code == 0\n"
             "loaded = {'torch', 'mindspore', 'matplotlib'} & set(sys.modules); assert not loaded, loaded")
    done = subprocess.run([sys.executable, "-c", check, tool.__file__, *world.argv], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected(world).table() in done.stdout
