"""Bad input of the evaluation tool: one clear line, exit status 2, and nothing written."""
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import test_10crop as tool
from bf16 import BF16_REFUSED
from safetensors.numpy import save_file

import wvad_core as wv
from worlds import CONFIG, FRAMES, TABLE, World
from wvad_core.checkpoints.contents import describe
from wvad_core.checkpoints.formats import safetensors
from wvad_core.cli import process
from wvad_core.data import bundled_tables

SNIPPETS = sum(-(-frames // 16) for frames in FRAMES.values())


def message(world, capsys):
    """Run the tool, expecting bad input; the message without its `error: `."""
    before = world.files()
    with pytest.raises(SystemExit) as end:
        process.run(tool.main, world.argv)
    assert end.value.code == 2
    assert world.files() == before
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.endswith("\n")
    return error[len("error: "):-1]


# What is done to the small dataset. Each takes a World.


def options(**changes):
    def change(world):
        for name, value in changes.items():
            world.options.pop(name.replace("_", "-"), None)
            if value is not None:
                world.options[name.replace("_", "-")] = str(value).replace("ROOT", str(world.root))
    return change


def feature(name, crop, content):
    """A feature file of these bytes, or gone where they are None, or of what a function makes of the array."""
    def change(world):
        if content is None:
            world.feature(name, crop).unlink()
        elif isinstance(content, bytes):
            world.feature(name, crop).write_bytes(content)
        else:
            world.change(name, crop, content)
    return change


def videos(name, content):
    return [feature(name, crop, content) for crop in range(3)]


def with_value(value):
    def change(array):
        array[1, 2] = value
        return array
    return change


def cut(world):
    path = world.feature("Riot01", 2)
    path.write_bytes(path.read_bytes()[:-4])


def many_videos(world):
    """Fourteen more videos without features."""
    names = "".join(f"More{i:02},test,Normal,,\n" for i in range(14))
    (world.root / "own.csv").write_text(TABLE + names)


def other_names(world):
    for path in (world.root / "features").iterdir():
        path.rename(path.with_name(f"other-{path.name}"))


def weights(change):
    """A checkpoint of changed tensors: `change` takes {name: array} and changes it in place."""
    def write(world):
        contents = safetensors.read(world.options["checkpoint"])
        change(contents.tensors)
        method, config = contents.metadata["method"], json.loads(contents.metadata["config"])
        safetensors.write(world.options["checkpoint"], describe(contents.tensors, method, config))
    return write


def checkpoint_bytes(change):
    def write(world):
        content = world.options["checkpoint"].read_bytes()
        world.options["checkpoint"].write_bytes(change(content))
    return write


def other_file(world):
    save_file({"a": np.zeros(3)}, world.options["checkpoint"])


def wider(world):
    wv.create("bn-wvad", **CONFIG | {"feature_dim": 16}).save(world.options["checkpoint"])


def ground_truth(content):
    def write(world):
        world.options["ground-truth"] = path = world.root / "gt.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content)
    return write


def archive(world):
    world.options["ground-truth"] = path = world.root / "gt.npy"
    with open(path, "wb") as file:
        np.savez(file, np.zeros(16 * SNIPPETS))


TABLES, METHODS, BACKENDS = (re.escape(", ".join(names)) for names in (bundled_tables(), wv.list_methods(), wv.list_backends()))
CASES = {
    "features of some videos": (
        videos("Riot01", None) + videos("Normal04", None),
        r"ROOT/features: the features cannot be used\n  Riot01: no feature file\n  Normal04: no feature file"),
    "features of many videos": (many_videos, r"ROOT/features: the features cannot be used\n"
                                             r"(  More\d\d: no feature file\n){10}  \.\.\. and 4 more"),
    "one crop": (feature("Fight02", 1, None), r".*\n  Fight02: no file of crop 1, expected crops 0 to 2"),
    "crops of different T": (feature("Riot01", 1, lambda array: array[1:]),
                             r".*\n  Riot01: Riot01__1.npy has shape \(3, 8\), expected \(4, 8\) as in .*"),
    "another D": (wider, r".*\n  5 videos: D = 8, expected 16"),
    "NaN": (feature("Riot01", 1, with_value(np.nan)),
            r"1 of 5 videos have features that are not finite\n  Riot01: Riot01__1.npy has nan in snippet 1 .*"),
    "infinity": (feature("Normal03", 0, with_value(-np.inf)),
                 r"1 of 5 .*\n  Normal03: Normal03__0.npy has -inf in snippet 1 \(crop 0\)"),
    "empty file": (feature("Riot01", 0, b""), r".*\n  Riot01: Riot01__0.npy is empty \(0 bytes\)"),
    "file cut short": (cut, r".*\n  Riot01: Riot01__2.npy is cut short: 252 bytes, expected 256"),
    "no npy file": (feature("Riot01", 0, b"hello"), r".*\n  Riot01: Riot01__0.npy is not a .npy file"),
    "pickled file": (feature("Riot01", 0, lambda array: array.astype(object)),
                     r".*\n  Riot01: Riot01__0.npy holds pickled Python objects, which are never loaded, .*"),
    "unknown layout": (other_names, r"ROOT/features: none of the 15 .npy files is named after a video of the table .*"),
    "no features folder": (options(features="ROOT/nowhere"), r"ROOT/nowhere: no such folder, .*"),
    "T unlike the table": (videos("Normal03", lambda array: array[:5]),
                           r".*\n  Normal03: T = 5, expected 13 \(give or take 2\) for the table's 200 frames"),

    "ground truth too short": (
        ground_truth(np.zeros(16 * SNIPPETS - 32)),
        rf"the ground truth has {16 * SNIPPETS - 32} frames, 32 too few: .*{16 * SNIPPETS} frames \(by the table, "
        rf"ceil\(frames / 16\) snippets a video would make {16 * SNIPPETS} frames, .* make {16 * 23}\)"),
    "ground truth that is not there": (options(ground_truth="ROOT/gt.npy"), r"ROOT/gt.npy: cannot be read \(No such.*"),
    "ground truth that is no .npy": (ground_truth(b"0 0 1"), r"ROOT/gt.npy: not a .npy file of numbers, .*"),
    "ground truth that is empty": (ground_truth(b""), r"ROOT/gt.npy: not a .npy file of numbers, .*"),
    "ground truth that is a folder": (options(ground_truth="ROOT"), r"ROOT: cannot be read \(Is a directory\)"),
    "ground truth that is an archive": (archive, r"ROOT/gt.npy: not a .npy file of numbers, .*"),
    "ground truth of other values": (ground_truth(np.full(16 * SNIPPETS, 2)), r"the ground truth has 2 at frame 0, .*"),

    "checkpoint of another method": (options(method="saa"), r".*: a checkpoint of method bn-wvad, expected saa"),
    "checkpoint that is not there": (options(checkpoint="ROOT/no.safetensors"), r"ROOT/no.*: no such checkpoint file"),
    "checkpoint of something else": (other_file, r"ROOT/weights.safetensors: no detector's weights; its tensors are a"),
    "checkpoint in no format": (checkpoint_bytes(lambda content: b"PK\3\4"), r".*: not a whole safetensors file .*"),
    "checkpoint cut short": (checkpoint_bytes(lambda content: content[:-4]), r".*: not a whole safetensors file .*"),
    "checkpoint that is empty": (checkpoint_bytes(lambda content: b""), r".*: not a whole safetensors file .*"),
    "checkpoint tampered with": (checkpoint_bytes(lambda content: content[:-1] + bytes([content[-1] ^ 1])),
                                 r"ROOT/weights.safetensors: .* the file has been altered"),
    "missing tensor": (weights(lambda tensors: tensors.pop("head.conv1.bias")),
                       r"ROOT/weights.safetensors: missing tensor head.conv1.bias \(2,\)"),
    "extra tensor": (weights(lambda tensors: tensors.update(extra=np.zeros(3))), r".*: unexpected tensor extra \(3,\)"),
    "tensor of another shape": (
        weights(lambda tensors: tensors.update({"embedding.bias": np.zeros(3, np.float32)})),
        r".*: tensor embedding.bias has shape \(3,\), expected \(32,\)"),
    "weights that are not finite": (
        weights(lambda tensors: tensors["embedding.bias"].fill(np.nan)),
        r"ROOT/weights.safetensors: tensor embedding.bias has nan at \[0\], expected numbers that are finite in float32"),

    "unknown backend": (options(backend="jax"), rf"unknown backend 'jax'; the backends are {BACKENDS}"),
    "misspelt backend": (options(backend="toch"), r"unknown backend 'toch' \(did you mean torch\?\); the backends are .*"),
    "unknown method": (options(method="magic"), rf"unknown method 'magic'; the methods are {METHODS}"),
    "unknown dataset": (options(dataset="avenue"), rf"avenue: no such dataset, expected {TABLES} or the path of a .*"),
    "unknown dataset, nothing else": (options(dataset="avenue", features=None, checkpoint=None), r"avenue: no such .*"),
    "table that is not there": (options(dataset="ROOT/no.csv"), r"ROOT/no.csv: no such file"),
    "no checkpoint": (options(checkpoint=None), r"dataset ROOT/own.csv needs --checkpoint; only demo has its own"),
    "no features": (options(dataset="ucf-crime", features=None), r"dataset ucf-crime needs --features; only .*"),
    "neither": (options(dataset="xd-violence", features=None, checkpoint=None),
                r"dataset xd-violence needs --features and --checkpoint; only demo has its own"),
    "output below a file": (options(output="ROOT/own.csv/new"), r"ROOT/own.csv/new: cannot be written \(Not a .*"),
    "output that is a file": (options(output="ROOT/own.csv"), r"ROOT/own.csv: cannot be written \(Not a directory\)"),
}


@pytest.mark.parametrize("changes, expected", CASES.values(), ids=[name.replace(" ", "-") for name in CASES])
def test_one_clear_line(capsys, world: World, changes, expected):
    for change in changes if isinstance(changes, list) else [changes]:
        change(world)
    found = message(world, capsys).replace(str(world.root), "ROOT")
    assert re.fullmatch(expected, found), found


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "ascend:99", "cpu:x"])
def test_unknown_device(capsys, world, backend, device):
    world.options |= {"backend": backend, "device": device}
    assert re.fullmatch(rf"(unknown )?device '{device}'.*", message(world, capsys))


def test_unknown_precision(capsys, world, backend):
    world.options |= {"backend": backend, "precision": "int3"}
    assert re.fullmatch("(unknown )?precision 'int3'.* float32.*", message(world, capsys))


@pytest.mark.needs("torch")
def test_bf16_on_a_cpu_without_it(capsys, world, monkeypatch):
    from wvad_torch import precision

    monkeypatch.setattr(precision, "bf16_instructions", lambda: False)
    world.options |= {"backend": "torch", "device": "cpu", "precision": "bf16"}
    assert re.fullmatch(BF16_REFUSED + ".*", message(world, capsys))


@pytest.mark.parametrize("words", [["--speed", "9"], ["extra"], ["--features"]])
def test_unknown_arguments(capsys, words):
    with pytest.raises(SystemExit) as end:
        tool.main(words)
    assert end.value.code == 2
    assert "usage: " in (error := capsys.readouterr().err) and "error: " in error


def test_a_framework_that_is_not_installed(world, framework):
    code = ("import runpy, sys; sys.modules[sys.argv[1]] = None; sys.argv = sys.argv[2:]\n"
            "sys.path.insert(0, sys.argv[0].rpartition('/')[0]); runpy.run_path(sys.argv[0], run_name='__main__')")
    world.options["backend"] = framework
    done = subprocess.run([sys.executable, "-c", code, framework, tool.__file__, *world.argv], capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"error: backend {framework} cannot start \(.*\); install its framework: "
                        rf'pip install .*"{framework}>=.*\n', done.stderr)
    assert "results" not in world.files()
