"""What the README shows works from a wheel, in an empty folder, with NumPy 2: every command, the core alone and with PyTorch."""
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from warm import Programs

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.cli import command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [line.strip().partition("  ")[0] for line in re.findall(r"^    (?=\S)[^\n]*", re.sub(
    r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)]
"""The lines of indented code, without the comments behind them."""
COMMANDS = list(dict.fromkeys([line for line in BLOCKS if line.startswith("wvad ")] + re.findall(r"`(wvad [^`]*--[^`]*)`", README)))
METHOD = "bn-wvad"
SMALL = ["steps=1", "videos=2", "segments=8", "evaluate_every=1"]
TINY = ["channels=16", "depth=1", "heads=1", "head_dim=8", "feed_forward_dim=8", "ratios=4,4"]
CONFIG = {"feature_dim": 8, "channels": 32, "heads": 2, "head_dim": 8, "feed_forward_dim": 16}
VIDEOS = {"Riot01": ("train", "Riot", 90, ""), "Riot02": ("train", "Riot", 64, ""), "Normal01": ("train", "Normal", 100, ""),
          "Normal02": ("train", "Normal", 80, ""), "Riot11": ("test", "Riot", 96, "16-48"), "Normal11": ("test", "Normal", 80, "")}
PINNED = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)[0]
"""The PyTorch that is tested; without its number, pip may take a build of several gigabytes."""
TRAINING = ("train", "export")
"""The subcommands that a framework is needed for."""
pytestmark = pytest.mark.skipif(Path(sys.prefix) == ROOT / ".venv" / "numpy2",
                                reason="the project's first environment runs these, partly on top of this one")


def made(folder: Path, wheel: Path, *more: str) -> Path:
    """A virtual environment without pip with the wheel, by pip's words; its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    subprocess.run([sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet",
                    "--disable-pip-version-check", wheel, *more], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def core(wheel, tmp_path_factory) -> Path:
    """The programs of an environment with what the wheel requires, and NumPy 2."""
    return made(tmp_path_factory.mktemp("core") / "venv", wheel, "numpy>=2")


@pytest.fixture(scope="module")
def torch(wheel, tmp_path_factory) -> Path:
    """Those of one with PyTorch and NumPy 2 too: on top of the project's second environment, where it is made (make wheel)."""
    folder = tmp_path_factory.mktemp("torch") / "venv"
    second = ROOT / ".venv" / "numpy2"
    if not second.is_dir():
        return made(folder, wheel, PINNED, "numpy>=2", "onnx", "onnxscript", "matplotlib")
    programs = made(folder, wheel, "--no-deps")
    name = sysconfig.get_path("purelib", vars={"base": ""}).lstrip("/")
    (folder / name / "numpy2.pth").write_text(f"{second / name}\n")
    return programs


def surroundings(programs: Path, folder: Path) -> dict[str, str]:
    """The variables of an environment, of which nothing but its programs is on a path."""
    own = {name: value for name, value in os.environ.items() if name in ("LANG", "LC_ALL", "TMPDIR")}
    return own | {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder), "WVAD_CACHE": str(folder / "cache"),
                  "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def call(programs: Path, folder: Path, words: list[str]) -> subprocess.CompletedProcess:
    """A program of an environment."""
    return subprocess.run([programs / words[0], *words[1:]], cwd=folder, env=surroundings(programs, folder), capture_output=True,
                          text=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty folder but for what the README's commands take as given: features, a table, checkpoints."""
    rows = [",".join([name, *map(str, row)]) for name, row in VIDEOS.items()]
    (tmp_path / "own.csv").write_text("\n".join(["video,split,category,frames,intervals", *rows]) + "\n")
    rng = np.random.default_rng(0)
    for name, (split, _, frames, _) in VIDEOS.items():
        for place in (tmp_path / "own", tmp_path / "i3d" / split):
            place.mkdir(parents=True, exist_ok=True)
            np.save(place / f"{name}__0.npy", rng.random((-(-frames // 16), 8), np.float32))
    for seed, name in enumerate(("ucf.safetensors", "other.safetensors", "own.safetensors")):
        detector = wv.create(METHOD, seed=seed, **CONFIG)
        detector.save(tmp_path / name)
    tensors = detector.weights()
    published = {theirs: tensors[ours] for theirs, ours in wv.published_names(METHOD, **CONFIG).items()}
    formats.by_suffix(Path("official.pkl")).write(tmp_path / "official.pkl", Contents(published, {}))
    return tmp_path


def small(line: str) -> list[list[str]]:
    """A command of the README on the small dataset, with small sizes; each of the subcommands for COMMAND."""
    if "COMMAND" in line:
        return [shlex.split(line.replace("COMMAND", name)) for name in command.COMMANDS]
    line = re.sub(r"--dataset (ucf-crime|xd-violence|shanghaitech)\b", "--dataset own.csv", line.replace("METHOD", METHOD))
    words = shlex.split(re.sub(r"--seeds \d+", "--seeds 2", line))
    if words[1] == "convert" or words[1] == "inspect":
        words += [f"{name}={value}" for name, value in CONFIG.items() if "official.pkl" in words and name.startswith("head")]
    if words[1] == "train" and "--resume" not in words:
        words = [word for word in words if "=" not in word] + SMALL + (TINY if "own.csv" in words else [])
    return [words]


def is_whole(done: subprocess.CompletedProcess, words: list[str]) -> None:
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    assert done.stdout and not re.search("error|traceback", done.stderr, re.IGNORECASE), done.stderr


def test_there_is_nothing_else_there(core, torch, tmp_path):
    frameworks = ("import sys, numpy, wvad_core, importlib.util as u; print(wvad_core.__file__, numpy.__version__, "
                  "[n for n in ('torch', 'mindspore') if u.find_spec(n)])")
    for programs, expected in ((core, "[]"), (torch, "['torch']")):
        file, version, found = call(programs, tmp_path, ["python", "-c", frameworks]).stdout.split(maxsplit=2)
        assert Path(file).is_relative_to(programs.parent) and version.startswith("2.") and found.strip() == expected


def test_every_command_is_known():
    """So that none is left out of these tests; videos are for tests of their own."""
    assert {line.split()[1] for line in COMMANDS} >= set(command.COMMANDS) - {"methods", "extract", "render", "dictionary"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in BLOCKS:
        first, *rest = line.split()
        if first == "make":
            assert re.search(rf"^\.PHONY:.*\b{rest[0]}\b", makefile, re.MULTILINE), line
        elif first == "pip":
            assert re.fullmatch(r'pip install (-e )?(\.|"\.\[\w+\]")', line), line
        else:
            assert first == "wvad" or re.fullmatch(r"\w+,.*|\S+/", line.split("  ")[0]), f"{line}: not run by any test"


def test_extras_that_are_named_are_there(wheel):
    from zipfile import ZipFile

    with ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    assert set(re.findall(r"\.\[(\w+)\]", README)) <= set(re.findall("^Provides-Extra: (.*)$", metadata, re.MULTILINE))
    assert all(Requirement(line) for line in re.findall("^Requires-Dist: (.*)$", metadata, re.MULTILINE))


def test_commands_with_the_core_alone(core, folder):
    """What needs a framework says in a line which one to install."""
    for words in (words for line in COMMANDS for words in small(line)):
        done = call(core, folder, words)
        if "--video" in words:
            assert done.returncode == 2 and re.fullmatch(r'error: .* needs PyAV, .*: pip install "wvad\[video\]"\n', done.stderr), done
        elif words[1] in TRAINING and "--help" not in words and "--resume" not in words:
            assert done.returncode == 2 and re.fullmatch(r"error: .*pip install .*torch.*\n", done.stderr), done
        elif "--resume" not in words:
            is_whole(done, words)


def test_commands_with_torch(torch, folder):
    with Programs(torch / "python", folder, surroundings(torch, folder)) as programs:
        for words in (words for line in COMMANDS for words in small(line)):
            # the core alone has run these, as the programs that pip has made; tests/video runs the demo of videos
            if words[1] != "inspect" and not {"--help", "numpy", "--video"} & {*words}:
                is_whole(programs.run(words), words)
    assert {"results/report.json", "results/roc.png", "results/report.html", "comparison/report.html", "weights.safetensors",
            "weights.ckpt", "weights.onnx", "runs/first/best.safetensors"} <= {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_the_program_in_python(torch, folder):
    """With the small dataset, on the CPU, and PyTorch where MindSpore is shown."""
    program = re.search(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[1]
    for shown, own in {"cuda:0": "cpu", "mindspore": "torch", "ucf-crime": "own.csv", "Abuse028_x264": "Riot11",
                       "weights.safetensors": "own.safetensors", " state,": f" state, **{CONFIG},"}.items():
        assert shown in program
        program = program.replace(shown, own)
    before = ("import numpy, wvad_core as wv\nfeatures = numpy.ones((3, 5, 8), 'float32')\n"
              f"fresh = wv.create({METHOD!r}, **{CONFIG}).weights()\n"
              f"state = {{theirs: fresh[ours] for theirs, ours in wv.published_names({METHOD!r}, **{CONFIG}).items()}}\n")
    done = call(torch, folder, ["python", "-c", before + program])
    assert done.returncode == 0 and done.stdout.startswith(" " * 42 + "  percent"), done
    assert (folder / "weights.ckpt").is_file()
