"""`wvad extract --ray` on a cluster of two nodes on this machine, whose workers and nodes are killed in the middle of a video."""
import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import drawn
import killing
import numpy as np
import pixel_means
import pytest

import wvad_core as wv
from wvad_core import registry
from wvad_core.cli import extract as command
from wvad_core.errors import Failure
from wvad_core.extraction import ray_workers

HERE = Path(__file__).parent
FRAMES = (40, 33, 48, 20, 36)
RECIPE = wv.video.find_recipe("rtfm").as_dict() | {"extractor": killing.NAME, "resize": "short side 16", "crop": 8}


def on_a_cluster(test):
    """Mark a test that takes half a minute, and Ray."""
    missing = importlib.util.find_spec("ray") is None
    return pytest.mark.slow(pytest.mark.skipif(missing, reason="Ray is not installed: pip install ray")(test))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """videos/, a recipe, weights, and the folder of one process alone; with the extractor installed."""
    pixel_means.install(tmp_path / "site", killing.NAME)
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(registry, "EXTRACTORS", registry.Models("extractors", registry.ExtractorSpecification))
    monkeypatch.setattr(command, "EXTRACTORS", registry.EXTRACTORS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(HERE)]))
    (tmp_path / "videos").mkdir()
    for number, count in enumerate(FRAMES):
        drawn.write(tmp_path / "videos" / f"v{number}.mp4", drawn.frames(count, seed=number))
    (tmp_path / "own.json").write_text(json.dumps(RECIPE))
    wv.create(killing.NAME, seed=1).save(tmp_path / "weights.safetensors")
    extract(tmp_path, "alone")
    return tmp_path


def extract(folder: Path, output: str, *more: str) -> dict[str, bytes]:
    command.main([str(folder / "videos"), "--recipe", str(folder / "own.json"), "--backend", "numpy", "--checkpoint",
                  str(folder / "weights.safetensors"), "--output", str(folder / output), *more])
    return files(folder / output)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def address(folder):
    """Of a cluster with a head and another node, a core each; KILLING is as it is set now."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    (folder / "killed.head").write_text(made.head_node.node_id)
    made.add_node(num_cpus=1)
    yield made.address
    made.shutdown()


@pytest.fixture
def killed(folder, request, monkeypatch) -> Path:
    """What is there once something was killed; the test's parameter says what is."""
    monkeypatch.setenv("KILLING", f"{request.param}:{folder / 'killed'}" if request.param else "")
    return folder / "killed"


@pytest.mark.parametrize("killed", ["", "process", "node"], indirect=True)
@on_a_cluster
def test_the_folder_is_that_of_one_process(killed, address, folder, request, capsys, caplog):
    capsys.readouterr()
    found = extract(folder, "ray", "--ray", address)
    assert found == files(folder / "alone") and len(found) == len(FRAMES) + 2
    assert f"extracted {len(FRAMES)} videos; {sum(FRAMES)} frames in " in capsys.readouterr().out
    assert killed.exists() == ("a worker died" in caplog.text) == bool(os.environ["KILLING"])
    assert not list((folder / "ray" / ".claims").glob("*.present"))
    extract(folder, "ray", "--ray", address)
    assert f"extracted 0 videos, {len(FRAMES)} were there: " in capsys.readouterr().out


@pytest.mark.parametrize("killed", ["white"], indirect=True)
@on_a_cluster
def test_a_video_that_kills_its_workers_is_named_as_bad_ones_are(killed, address, folder, caplog):
    drawn.write(folder / "videos" / "white.mp4", np.full((20, 48, 64, 3), 255, np.uint8))
    (folder / "videos" / "bad.mp4").write_text("no video")
    with pytest.raises(Failure) as caught:
        extract(folder, "ray", "--ray", address)
    lines = sorted(str(caught.value).splitlines())
    assert lines[2] == f"2 of {len(FRAMES) + 2} videos could not be extracted"
    assert lines[0].startswith("  bad: ") and "cannot be read as a video" in lines[0]
    assert lines[1] == "  white: 3 workers died while they extracted it"
    assert {name: made for name, made in files(folder / "ray").items() if not name.startswith(".white-")} == files(folder / "alone")
    assert caplog.text.count("bad: ") == 1


@on_a_cluster
def test_what_a_worker_refuses_is_one_line(folder, address):
    with pytest.raises(wv.InputError, match="^--device cuda: the Ray cluster has none of GPU, NPU, expected one$"):
        extract(folder, "ray", "--ray", address, "--device", "cuda")
    with pytest.raises(wv.InputError, match="precision"):
        extract(folder, "other", "--ray", address, "--precision", "float8")


def test_where_no_cluster_is_one_line_says_so(folder, monkeypatch):
    def init(address, **_):
        raise ConnectionError(f"nothing\nat {address}")

    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(init=init))
    with pytest.raises(wv.InputError, match=r"^--ray host:1: no cluster there \(nothing at host:1\), expected local, auto or HOST:PORT$"):
        extract(folder, "ray", "--ray", "host:1")


def test_without_ray_one_line_names_the_extra(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(wv.InputError, match=r'^--ray needs Ray, which cannot be imported: pip install "wvad\[ray\]"$'):
        extract(folder, "ray", "--ray", "local")


class Cluster:
    """What `_devices` asks Ray for."""

    def __init__(self, *resources, alive=True):
        self._nodes = [{"Alive": alive, "Resources": made} for made in resources] + [{"Alive": False, "Resources": {"GPU": 9}}]

    def nodes(self):
        return self._nodes


@pytest.mark.parametrize("cluster, device, asked", [
    (Cluster({"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}), "auto", 3 * [{"num_gpus": 1}]),
    (Cluster({"CPU": 8.0, "NPU": 2.0}), "ascend", 2 * [{"resources": {"NPU": 1}}]),
    (Cluster({"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}, {"memory": 1.0}), "cpu", [{"num_cpus": 8.0}, {"num_cpus": 4.0}]),
    (Cluster({"CPU": 8.0}), "auto", [{"num_cpus": 8.0}]), (Cluster({"CPU": 8.0}), "cuda", "has none of GPU, NPU"),
    (Cluster({"GPU": 8.0}), "cuda:3", "^--device cuda:3 with --ray, expected auto, cpu, cuda or ascend"),
    (Cluster({"memory": 1.0}), "auto", "has no cores")])
def test_a_worker_a_device(cluster, device, asked):
    if isinstance(asked, str):
        with pytest.raises(wv.InputError, match=asked):
            ray_workers._devices(cluster, device)
    else:
        assert ray_workers._devices(cluster, device) == asked
