"""docs/adding_a_method.md, followed to the letter: the method inside a copy of this repository, and as a package by pip."""
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import adding_a_method_page as page
from economy import OUTSIDE
from warm import Programs
from wvad_core.checkpoints import formats
from wvad_core.data import Dataset, demo

FOLDERS = {"wvad_core": "wvad_core", "wvad_torch": "backends/torch", "wvad_mindspore": "backends/mindspore"}
PACKAGE, REPOSITORY = "As a package of its own", "In this repository"
WVAD = "from wvad_core.cli.command import program; program()"  # as the console script
PROGRAMS = {"python": [sys.executable], "wvad": [sys.executable, "-c", WVAD]}


def surroundings(site: Path) -> dict[str, str]:
    """An environment with the packages in `site` before all others."""
    return OUTSIDE | {"PYTHONPATH": str(site), "GLOG_v": "3", "PYTHONDONTWRITEBYTECODE": "1"}


def run(line: str, folder: Path, site: Path) -> subprocess.CompletedProcess:
    """A command line of the page in a folder."""
    program, *words = shlex.split(line)
    return subprocess.run([*PROGRAMS[program], *words], cwd=folder, env=surroundings(site), capture_output=True, text=True)


def done(line: str, folder: Path, site: Path) -> str:
    """What a command line that succeeds has printed."""
    return output_of(run(line, folder, site))


def output_of(found: subprocess.CompletedProcess) -> str:
    """By a process that has succeeded."""
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.mark.needs("torch", "mindspore")
def test_in_a_copy_of_the_repository(tmp_path):
    """The three files and the row of the table: the hand-computed numbers and all of parity, green."""
    for name in ("wvad_core", "backends", "tests"):
        shutil.copytree(page.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "golden", "demo"))
    shutil.copy(page.ROOT / "setup.cfg", tmp_path)
    site = tmp_path / "site"  # where the copy is imported from, as from an editable installation
    site.mkdir()
    for package, home in FOLDERS.items():
        (site / package).symlink_to(tmp_path / home)
    files = page.files("in the repository")
    assert len(files) == 4 and not any((page.ROOT / path).exists() for path in files)
    page.write(tmp_path, files)
    table = tmp_path / "tests" / "parity" / "cases.py"
    rows = table.read_text(encoding="utf-8")
    table.write_text(rows.replace("CONFIGS = {\n", "CONFIGS = {\n" + page.row(), 1), encoding="utf-8")
    for line, least in zip(page.commands(REPOSITORY), (8, 40), strict=True):
        assert int(re.search(r"(\d+) passed", done(f"{line} -p no:cacheprovider", tmp_path, site))[1]) >= least


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> tuple[Path, Path]:
    """The package without a network in MindSpore, as the page says: its folder, and where pip has put it."""
    folder, site = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("site")
    files = page.files("in a package of its own")
    files.pop("wvad_lse_mil/mindspore_network.py")
    *kept, group, entry = files["pyproject.toml"].splitlines()
    assert group == '[project.entry-points."wvad.methods.mindspore"]' and entry.startswith("lse-mil")
    page.write(folder, files | {"pyproject.toml": "\n".join(kept)})
    command = page.commands(PACKAGE)[0]
    assert command == "pip install ."
    subprocess.run([sys.executable, "-m", *command.split(), "--quiet", "--no-deps", "--no-build-isolation", "--target", site],
                   cwd=folder, check=True, capture_output=True)
    return folder, site


@pytest.fixture(scope="module")
def programs(installed):
    with Programs(sys.executable, installed[0], surroundings(installed[1])) as found:
        yield found


@pytest.fixture(scope="module")
def followed(programs) -> dict[str, str]:
    """{command line of the page: what it has printed}, one after another."""
    return {line: output_of(programs.run(shlex.split(line))) for line in page.commands(PACKAGE)[1:]}


def starting(followed: dict[str, str], words: str) -> str:
    (found,) = [printed for line, printed in followed.items() if line.startswith(words)]
    return found


def tensors(installed, name: str) -> dict[str, np.ndarray]:
    return formats.read(installed[0] / name)[1].tensors


@pytest.mark.needs("torch")
def test_a_package_is_listed_and_passes_its_tests(followed):
    assert re.search(r"^lse-mil +From Image-level .* 2015$", starting(followed, "wvad methods"), re.MULTILINE)
    assert "5 passed" in starting(followed, "python -m pytest")


@pytest.mark.needs("torch")
def test_a_package_is_trained_and_evaluated(followed, installed):
    history = [json.loads(line) for line in (installed[0] / "runs/first/history.jsonl").read_text().splitlines()]
    totals = [line["total"] for line in history if "total" in line]
    assert len(totals) == 20 and totals[-1] < totals[0]
    first = next(line for line in history if "total" in line)
    assert first["total"] == pytest.approx(first["video"] + first["smooth"], rel=1e-5)
    assert "lse-mil" in starting(followed, "wvad test") and "AUC" in starting(followed, "wvad test")


@pytest.mark.needs("torch")
def test_a_recipe_of_another_dataset_takes_the_size_of_the_demos_features(followed, programs, installed):
    output_of(programs.run("wvad train --method lse-mil --backend torch --recipe ucf-crime --output runs/other steps=2".split()))
    assert tensors(installed, "runs/other/last.safetensors")["embedding.weight"].shape == (512, 32)


@pytest.mark.needs("torch")
def test_a_package_is_converted_and_exported(followed, installed):
    runtime = pytest.importorskip("onnxruntime")
    trained = tensors(installed, "runs/first/best.safetensors")
    for name in ("best.pt", "best.ckpt", "again.safetensors"):
        found = tensors(installed, name)
        assert set(found) == set(trained) and all(np.array_equal(found[key], trained[key]) for key in trained)
    features = next(iter(Dataset.open("demo", demo.demo_features(), "test"))).features.read()
    session = runtime.InferenceSession(str(installed[0] / "best.onnx"))
    assert session.run(None, {"features": features})[0] == pytest.approx(by_hand(features, trained), rel=1e-4)


def by_hand(features: np.ndarray, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The formula of the page: (N, T, D) -> (T,)."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    hidden = np.maximum(features @ w["embedding.weight"].T + w["embedding.bias"], 0)
    return (1 / (1 + np.exp(-(hidden @ w["classifier.weight"].T + w["classifier.bias"]))))[..., 0].mean(0)


@pytest.mark.needs("torch")
def test_a_package_is_used_in_python(followed, installed):
    (code,) = [text for before, text in page.blocks("python", PACKAGE) if before == "The same in Python:"]
    (installed[0] / "use.py").write_text(code, encoding="utf-8")
    printed = done("python use.py", *installed)
    expected = by_hand(np.stack([np.full(32, 0.5), np.ones(32)])[None], tensors(installed, "runs/first/best.safetensors"))
    method, size, scores = re.fullmatch(r"(\S+) (\d+) \[(.*)\]\n", printed).groups()
    assert (method, size) == ("lse-mil", "64")
    assert [float(score) for score in scores.split()] == pytest.approx(expected, rel=1e-4)


@pytest.mark.needs("torch", "mindspore")
def test_a_backend_without_its_network_says_so_in_one_line(followed, installed):
    for line in ("wvad test --checkpoint runs/first/best.safetensors --backend mindspore",
                 "wvad train --method lse-mil --backend mindspore --output runs/second steps=2"):
        found = run(line, *installed)
        assert found.returncode == 2
        assert found.stderr.splitlines()[-1] == (
            "error: method lse-mil has no network for the mindspore backend, expected an entry point lse-mil in "
            "the group wvad.methods.mindspore; the numpy backend runs the specification itself")
        assert "Traceback" not in found.stderr
