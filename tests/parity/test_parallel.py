"""Two processes, each with half of every batch and of the videos, find what one process finds with all of them."""
import functools
import os
import pickle
import re
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import devices
import numpy as np
import parallel_worker
import pytest
import tagger
from parallel_worker import CASES, DEVICE, HANGS, SAME, twice

from cases import CONFIGS
from compare import OUTPUT, TRAINED, assert_all_close, assert_close, error

BIN = Path(sys.executable).parent
pytestmark = pytest.mark.on_the_cpu  # of a device it takes two


def torchrun(folder: Path) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def msrun(folder: Path) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [sys.executable, "-m", "mindspore.parallel.cluster.run", "--worker_num=2", "--local_worker_num=2", "--join=True",
            f"--log_dir={folder / 'log'}", f"--master_port={port}"]


LAUNCHERS = {"torch": torchrun, "mindspore": msrun}
SOONER = {"mindspore": ("adplg", "ar-net", "bn-wvad")}
"""Of the methods, those that two processes train without --slow, where not all: ones with a memory, with a halved batch whose
lengths differ, and with statistics of a batch. What puts outputs together stands once in a backend."""


@pytest.fixture(scope="session")
def launched(tmp_path_factory, request):
    """A function of a backend: what two processes find, each all that `parallel_worker.everything` names."""
    sooner, names = {} if request.config.getoption("--slow") else SOONER, request.config.getoption("--backends").split(",")
    folders = {name: tmp_path_factory.mktemp(name) for name in LAUNCHERS if name in names}
    begun = {name: launch(name, folder, sooner.get(name, CASES)) for name, folder in folders.items()}  # they wait a lot: together
    once = functools.cache(lambda name: begun[name].communicate(timeout=2 * HANGS)[0])

    def run(backend: str) -> tuple[str, Path]:
        printed = once(backend)
        assert begun[backend].returncode == 0, printed[-3000:]
        return printed, folders[backend]

    def results(backend: str) -> list[dict]:
        _, folder = run(backend)
        return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]

    results.run, results.begun = run, begun
    yield results
    for process in begun.values():
        process.kill()
        process.communicate()


def launch(backend: str, folder: Path, methods: Iterable[str]) -> subprocess.Popen:
    for spoilt in (False, True):
        parallel_worker.dataset(folder, spoilt=spoilt)  # no process is to write what another one reads
    parallel_worker.videos(folder)
    tagger.install(folder / "site")
    command = [*LAUNCHERS[backend](folder), parallel_worker.__file__, backend, str(folder), *methods]
    return subprocess.Popen(command, env=surroundings(), cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def surroundings() -> dict[str, str]:
    """Of launchers. MindSpore's processes, which do not find each other at once, try again within the second, not two; and they
    may take long to answer, beside all the others."""
    own = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    patience = {"MS_RETRY_INTERVAL_LOWER": "0", "MS_RETRY_INTERVAL_UPPER": "1", "MS_RECEIVE_MSG_TIMEOUT": str(HANGS)}
    return devices.environment() | own | patience


def assert_same(found: dict, expected: dict) -> None:
    """Equal loss terms at every step, and equal weights, running statistics and memory at the end."""
    assert len(found["terms"]) == len(expected["terms"])
    for ours, theirs in zip(found["terms"], expected["terms"]):
        assert_all_close(ours, theirs, TRAINED)
    assert_all_close(found["weights"], expected["weights"], TRAINED)


def test_processes_are_begun(launched):
    """So that other tests run while they wait (economy.MEANWHILE)."""
    assert all(process.poll() in (None, 0) for process in launched.begun.values())


@pytest.mark.parametrize("method", CASES)
def test_training_on_two_halves_is_training_on_the_whole(launched, framework, method, request):
    if method not in SOONER.get(framework, CASES) and not request.config.getoption("--slow"):
        pytest.skip("--slow")
    expected = parallel_worker.train(method, CASES[method], framework)
    for found in launched(framework):
        assert_same(found[f"train {method}"], expected)


def test_items_are_shared_out_as_halves_are(launched, framework, tagger_installed):
    expected = parallel_worker.train_on_items(framework)
    for found in launched(framework):
        assert_same(found["items"], expected)


def test_batch_norm_is_synchronised_or_per_device(launched, framework):
    """With the same videos in both processes, statistics per device are those of one half; the loss is the same anyhow."""
    both = parallel_worker.train(SAME, CONFIGS[SAME][0], framework, twice)
    half = parallel_worker.train(SAME, CONFIGS[SAME][0], framework)
    for found in launched(framework):
        assert_same(found["synchronised"], both)
        assert_same(found["device"], half)
    name = next(name for name in half["weights"] if name.endswith("running_var"))
    assert error(both["weights"][name], half["weights"][name]) > TRAINED, "the two differ, as n / (n - 1) of the variance"


def test_dropout_differs_between_processes_and_their_weights_do_not(launched, framework):
    half = parallel_worker.train(SAME, CONFIGS[SAME][0], framework, options=DEVICE, deterministic=False)
    first, second = (found["random"]["weights"] for found in launched(framework))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert max(error(first[name], value) for name, value in half["weights"].items()) > 10 * TRAINED


def test_what_one_process_is_told_all_do_and_each_goes_on_with_its_own_random_numbers(launched, framework):
    """SIGTERM reaches processes apart: they stop at the same step, and no process waits for one that is gone."""
    rounding = 0 if framework == "torch" else 1e-3
    for found in (results["told to end"] for results in launched(framework)):
        assert found["message"] == "training ur-dmu: told to end, after step 2; all is saved"
        assert len(found["random"]) == 2 and found["random"][0] != found["random"][1]
        for line, whole in zip(found["history"], found["whole"], strict=True):
            assert line == pytest.approx(whole, rel=rounding, abs=rounding)
        for name, value in found["expected"].items():
            assert np.allclose(found["weights"][name], value, rounding, rounding), name


@pytest.mark.parametrize("kind", ["all videos", "one video"])
def test_shared_evaluation_gives_the_report_of_one_process(launched, framework, kind, tmp_path):
    expected = parallel_worker.evaluations(framework, tmp_path)[kind]
    for found in launched(framework):
        assert found[kind]["scores"].keys() == expected["scores"].keys()
        for name, scores in expected["scores"].items():
            assert_close(found[kind]["scores"][name], scores, OUTPUT, name=name)
        own, others = found[kind]["about"], expected["about"]
        assert {name: own[name] for name in own if name != "seconds"} == {n: others[n] for n in others if n != "seconds"}
        assert {n: found[kind][n] for n in expected if n not in ("about", "scores")} == {
            n: expected[n] for n in expected if n not in ("about", "scores")}


@pytest.mark.parametrize("kind, message", [("bad features", "2 of 5 videos have features that are not finite"),
                                           ("bad weights", "v0: the anomaly score of snippet 0 is nan")])
def test_all_processes_tell_the_same_error(launched, framework, kind, message):
    first, second = (found[kind] for found in launched(framework))
    assert first == second and first.startswith(message)


def test_processes_share_the_videos_of_an_extraction(launched, framework):
    """The folder is that of one process in every byte; the first tells of all, and nobody tries a bad video again."""
    first, second = (found["extraction"] for found in launched(framework))
    _, folder = launched.run(framework)
    alone = parallel_worker.extraction(framework, folder, "alone")
    files = [{path.name: path.read_bytes() for path in (folder / output).iterdir() if path.is_file()} for output in ("shared", "alone")]
    assert files[0] == files[1] and set(files[0]) == {"a.npy", "b.npy", "c.npy", "d.npy", "features.json", ".lock"}
    assert second["printed"] == "" and second["failure"] is None
    assert re.search(r"^extracted 4 videos.*; 74 frames in ", first["printed"], re.MULTILINE) and "4 videos" in alone["printed"]
    assert first["failure"] == alone["failure"] and first["failure"].startswith("1 of 5 videos could not be extracted\n  e: ")
    assert (first["logged"] + second["logged"]).count("e: ") == 1
    assert not list((folder / "shared" / ".claims").iterdir())


@pytest.mark.slow
def test_the_launchers_status_is_that_of_the_extraction(framework, tmp_path):
    """1 where a video is left out, with one list of these, and 0 where none is."""
    parallel_worker.videos(tmp_path)
    command = [*LAUNCHERS[framework](tmp_path), BIN / "wvad", "extract", tmp_path / "videos", "--recipe", tmp_path / "own.json",
               "--checkpoint", tmp_path / "vit.safetensors", "--backend", framework, "--output", tmp_path / "out"]
    for status in (1, 0):
        done = subprocess.run(command, env=surroundings(), cwd=tmp_path, text=True, timeout=HANGS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == status, done.stdout[-3000:]
        said = done.stdout + "".join(log.read_text() for log in tmp_path.glob("log/worker_0.log"))
        assert ("error: 1 of 5 videos could not be extracted" in said) == bool(status) and "error: 2" not in said
        assert (f"extracted {'4' if status else '0'} videos") in said and len(list((tmp_path / "out").glob("*.npy"))) == 4
        (tmp_path / "videos" / "e.mp4").unlink(missing_ok=True)


@pytest.mark.needs("torch")
def test_no_thread_of_the_group_is_left_at_the_end(launched):
    """One that lets go of a tensor while the interpreter ends aborts the process, whose work is done."""
    _, folder = launched.run("torch")
    for rank in (0, 1):
        assert not re.search("gloo", (folder / f"{rank}.threads").read_text())


@pytest.mark.needs("mindspore")
def test_what_the_first_process_prints_is_where_the_documentation_says(launched):
    """docs/parallel.md: with msrun in worker_0.log, in its --log_dir."""
    _, folder = launched.run("mindspore")
    assert "what process 0 prints\n" in (folder / "log" / "worker_0.log").read_text()
    page = (Path(__file__).parents[2] / "docs" / "parallel.md").read_text(encoding="utf-8")
    assert "`worker_RANK.log`" in page and "`logs/worker_0.log`" in page and "--log_dir logs" in page
