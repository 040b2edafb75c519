"""The conversion tool: what it prints, what it refuses, and what it leaves behind."""
import re
import subprocess
import sys
from importlib.metadata import version

import convert_checkpoint as tool
import numpy as np
import pytest
import test_10crop

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents, describe, digest
from wvad_core.checkpoints.formats import mindspore, safetensors
from wvad_core.cli import command, convert, options, process

CONFIG = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2), "k": 5}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder, the working one, with a checkpoint of this library and others without its metadata."""
    monkeypatch.chdir(tmp_path)
    made = wv.create("saa", **CONFIG)
    made.save("own.safetensors")
    safetensors.write(tmp_path / "bare.safetensors", Contents(made.weights(), {}))
    names = wv.published_names("saa", **CONFIG)
    published = {theirs: made.weights()[ours] for theirs, ours in names.items()}
    mindspore.write(tmp_path / "official.ckpt", Contents({f"net.{n}": v[:, :, None] if v.ndim == 3 else v
                                                          for n, v in published.items()}, {}))
    safetensors.write(tmp_path / "without.safetensors", Contents({n: v for n, v in published.items() if "bias" not in n
                                                                  or "classifier" in n}, {}))
    tensors = wv.create("rtfm", feature_dim=16).weights()
    safetensors.write(tmp_path / "rtfm.safetensors", Contents(tensors, {}))
    del tensors["classifier.fc1.bias"]
    safetensors.write(tmp_path / "broken.safetensors", Contents(tensors | {"extra": np.zeros(3)}, {}))
    safetensors.write(tmp_path / "escape.safetensors", Contents({"\x1b[2J": np.zeros(3)}, {}))
    safetensors.write(tmp_path / "claims.safetensors", describe(tensors, "saa", CONFIG))
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    whole = (tmp_path / "own.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-4])
    (tmp_path / "altered.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return tmp_path


def run(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        process.run(tool.main, words)
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def files(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_known_by_metadata(capsys, folder):
    assert run(capsys, "own.safetensors", "new/x.ckpt") == (0, f"""\
file        own.safetensors, {(folder / "own.safetensors").stat().st_size} bytes
format      safetensors
method      saa, by its metadata, written by version {version("wvad")}
settings    feature_dim=16 attention_dim=4 hidden_dims=4,2 dropout=0.7 leaky_slope=0.2 k=5 suppression=0.2
            branch_weights=0.8,0.2 guide_steps=400 guide_threshold=0.5 norm_weight=0.8 smooth_weight=0.01
            sparse_weight=0.01
tensors     53, of 1929 numbers: 48 float32, 5 int64
written     new/x.ckpt, {(folder / "new/x.ckpt").stat().st_size} bytes
""", "")
    kind, contents = formats.read(folder / "new/x.ckpt")
    expected = safetensors.read(folder / "own.safetensors")
    assert kind is mindspore and contents.metadata == expected.metadata
    assert digest(contents.tensors) == digest(expected.tensors)


def test_what_is_seen_from_the_tensors(capsys, folder):
    assert run(capsys, "official.ckpt", "x.pt", "k=5") == (0, f"""\
file        official.ckpt, {(folder / "official.ckpt").stat().st_size} bytes
format      MindSpore
method      saa, by its tensors, which have published names behind net.
settings    feature_dim=16 attention_dim=4 hidden_dims=4,2 k=5
by default  dropout=0.7 leaky_slope=0.2 suppression=0.2 branch_weights=0.8,0.2 guide_steps=400
            guide_threshold=0.5 norm_weight=0.8 smooth_weight=0.01 sparse_weight=0.01; no tensor shows these
tensors     48, of 1924 numbers: 48 float32
note        scores depend on what the file does not say: leaky_slope=0.2 (by default)
written     x.pt, {(folder / "x.pt").stat().st_size} bytes
""", "")
    written, own = (formats.read(folder / name)[1].metadata for name in ("x.pt", "own.safetensors"))
    assert written.pop("assumed").startswith('{"settings": ["dropout", "leaky_slope", ')
    assert written.pop("sha256") != own.pop("sha256") and written == own  # it is of "assumed" too


def test_what_a_release_lacks(capsys, folder):
    status, out, _ = run(capsys, "without.safetensors", "x.pt")
    assert status == 0
    assert re.search(r"\nzeros       aggregate.scale1.conv.bias, .* and \d+ more,\s+which the file does not have\n"
                     r"note        scores depend on what the file does not say: leaky_slope=0.2 \(by default\), "
                     r"10 tensors that it\s+lacks \(zeros\)\nwritten", out, re.DOTALL)


@pytest.mark.parametrize("name", ["own.safetensors", "bare.safetensors", "official.ckpt"])
def test_check_writes_nothing(capsys, folder, name):
    before = files(folder)
    status, out, error = run(capsys, name, "--check")
    assert (status, error, files(folder)) == (0, "", before)
    count = int(re.search(r"^tensors +(\d+),", out, re.MULTILINE)[1])
    head, _, rows = out.partition("\n\n")
    assert "method      saa, by its " in head and "written  " not in out
    rows = rows.splitlines()
    assert len(rows) == 41 and rows[20] == f"... {count - 40} more"
    assert all(re.fullmatch(r"[a-z]\S+ +(float32|int64) +(\d+( x \d+)*|one number)", row) for row in rows[:20] + rows[21:])


@pytest.mark.parametrize("words", [["bare.safetensors"], ["official.ckpt", "k=5"], ["rtfm.safetensors", "--method", "rtfm"],
                                   ["broken.safetensors", "--method", "rtfm"], ["text.txt"]])
def test_inspect_says_what_check_says(capsys, folder, words):
    expected = run(capsys, *words, "--check")
    with pytest.raises(SystemExit) as end:
        process.run(command.main, ["inspect", *words])
    captured = capsys.readouterr()
    assert (end.value.code, captured.out, captured.err) == expected


def test_published_names_and_back(capsys, folder):
    assert run(capsys, "own.safetensors", "theirs.pth", "--published")[0] == 0
    _, theirs = formats.read(folder / "theirs.pth")
    assert set(theirs.tensors) == set(wv.published_names("saa", **CONFIG)) and not theirs.metadata
    status, printed, _ = run(capsys, "theirs.pth", "back.safetensors", "k=5")
    assert status == 0 and "published names" in printed
    back, own = (safetensors.read(folder / name).tensors for name in ("back.safetensors", "own.safetensors"))
    assert all(np.array_equal(back[name], own[name]) for name in own)


def test_check_of_what_is_not_whole(capsys, folder):
    status, out, error = run(capsys, "broken.safetensors", "--check", "--method", "rtfm")
    assert status == 2
    assert out.startswith("file        broken.safetensors, ") and "format      safetensors\ntensors     47, of " in out
    assert re.search(r"\nextra +float64   3\n", out)
    assert error.splitlines()[1:] == ["  missing tensor classifier.fc1.bias", "  unexpected tensor extra (3,)"]
    assert error.startswith("error: broken.safetensors: the tensors fit no detector; what comes nearest is rtfm")


def test_ambiguous_ones_are_decided(capsys, folder):
    status, out, error = run(capsys, "rtfm.safetensors", "x.ckpt")
    assert (status, error) == (0, "") and "\nmethod      rtfm, by its tensors" in out
    assert "\nor          ssrl feature_dim=16 stage=1 (this library's names), whose scores are the same\n" in out
    for words, method in ((["--method", "rtfm"], "rtfm"), (["--method", "ssrl"], "ssrl"), (["stage=1"], "ssrl")):
        assert run(capsys, "rtfm.safetensors", f"{method}.ckpt", *words)[::2] == (0, "")
        assert wv.load(folder / f"{method}.ckpt").method == method


def test_a_part_that_scores_need(capsys, folder):
    config = {"feature_dim": 16, "hidden": 12, "channels": 32, "positions": 100, "depth": 1, "feed_forward_dim": 20}
    weights, names = wv.create("adplg", **config).weights(), wv.published_names("adplg", **config)
    safetensors.write(folder / "video.safetensors", Contents({n: weights[c] for n, c in names.items() if c[:2] == "vi"}, {}))
    before, given = files(folder), [f"{name}={value}" for name, value in config.items() if name not in ("feature_dim", "hidden")]
    status, out, error = run(capsys, "video.safetensors", "x.pt", *given)
    assert (status, out, files(folder)) == (2, "", before) and error == (
        "error: video.safetensors: has no tensors of snippet, without which the scores of adplg are random; to train further, "
        "allow_fresh=True (--allow-fresh) draws them\n")
    status, out, _ = run(capsys, "video.safetensors", "--check", *given)
    assert status == 0 and re.search(r"note +scores depend on .*tensors of a part that\s+it\s+lacks", out, re.DOTALL)
    assert run(capsys, "video.safetensors", "x.pt", "--allow-fresh", *given)[0] == 0
    with pytest.warns(wv.AssumedWarning, match="tensors of a part that it lacks"):
        assert wv.load(folder / "x.pt").assumed.fresh


def test_what_a_checkpoint_leaves_open_is_a_note(capsys, world):
    made = wv.create("saa", feature_dim=8)
    safetensors.write(world.root / "bare.safetensors", Contents(made.weights(), {}))
    world.options["checkpoint"] = world.root / "bare.safetensors"
    with pytest.raises(SystemExit) as end:
        process.run(test_10crop.main, world.argv)
    error = capsys.readouterr().err
    assert end.value.code == 0 and error.count("note: ") == 1 and "leaky_slope=0.2 (by default)" in error


SUFFIXES = r"\.ckpt \(MindSpore\), \.pt \.pth \.pkl \(PyTorch\), \.safetensors \(safetensors\)"
REFUSED = {
    "cut short": (["cut.safetensors", "x.pt"], r"cut.safetensors: not a whole safetensors file \(.*\)"),
    "altered": (["altered.safetensors", "x.pt"], "altered.safetensors: metadata and tensors do not have the hash in the metadata.*"),
    "names that move the cursor": (["escape.safetensors", "x.pt"],
                                   r"escape.safetensors: a tensor has the name '\\x1b\[2J', .*"),
    "empty": (["empty.ckpt", "x.pt"], r"empty.ckpt: not a whole MindSpore checkpoint \(it is empty\)"),
    "no checkpoint": (["text.txt", "x.pt"], "text.txt: neither its content nor its name is that of a checkpoint .*"),
    "not there": (["none.pt", "x.pt"], "none.pt: no such checkpoint file"),
    "a folder": ([".", "x.pt"], r"\.: no such checkpoint file"),
    "claims another method": (["claims.safetensors", "x.pt"], "claims.safetensors: (missing|unexpected) tensor .*"),
    "another method": (["own.safetensors", "x.pt", "--method", "rtfm"], ".*: a checkpoint of method saa, expected rtfm"),
    "unknown method": (["bare.safetensors", "x.pt", "--method", "rtf"], r"unknown method 'rtf' \(did you mean rtfm\?\); the methods are adplg, .*"),
    "settings that disagree": (["own.safetensors", "x.pt", "attention_dim=8"], ".*: tensor attention.conv1.weight has .*"),
    "unknown setting": (["bare.safetensors", "x.pt", "kk=8"], "bare.safetensors: no method takes kk=8"),
    "unknown setting of a method": (["own.safetensors", "x.pt", "kk=8"], ".*saa has no setting 'kk'; did you mean k.*"),
    "no setting": (["own.safetensors", "x.pt", "k"], "'k' is not a setting, expected NAME=VALUE"),
    "no target": (["own.safetensors"], "OUT is missing, .*"),
    "target is the source": (["own.safetensors", "./own.safetensors"], "own.safetensors: OUT is IN, expected another file"),
    "target without suffix": (["own.safetensors", "x"], rf"x: no format has the suffix '', expected {SUFFIXES}; .*"),
    "target of another suffix": (["own.safetensors", "x.h5"],
                                 rf"x.h5: no format has the suffix '.h5', expected {SUFFIXES}; .*"),
    "target below a file": (["own.safetensors", "text.txt/x.pt"], r"text.txt: cannot be written \(.*\)"),
    "target is a folder": (["own.safetensors", "folder.pt"], "folder.pt: is a folder, expected a file to write"),
}


@pytest.mark.parametrize("words, expected", REFUSED.values(), ids=[name.replace(" ", "-") for name in REFUSED])
def test_one_clear_line(capsys, folder, words, expected):
    (folder / "folder.pt").mkdir()
    before = files(folder)
    status, out, error = run(capsys, *words)
    assert (status, out, files(folder)) == (2, "", before)
    assert re.fullmatch(f"error: {expected}\n", error, re.DOTALL), error
    assert (folder / "folder.pt").is_dir() and len(list(folder.iterdir())) == len(before) + 1


def test_no_partial_file_of_damaged_ones(capsys, folder):
    """Bytes flipped and cut in real files: the whole file, or none."""
    rng = np.random.default_rng(0)
    for name in ("own.safetensors", "official.ckpt"):
        content = (folder / name).read_bytes()
        for i in range(20):
            at = int(rng.integers(len(content) if i % 2 else 100))
            damaged = content[:at] if i % 3 == 0 else content[:at] + bytes([content[at] ^ (1 << i % 8)]) + content[at + 1:]
            (folder / "damaged").write_bytes(damaged)
            before = set(files(folder))
            status, _, error = run(capsys, "damaged", "out.pt")
            assert status == (0 if (folder / "out.pt").exists() else 2)
            if status == 0:
                wv.load(folder / "out.pt")
                (folder / "out.pt").unlink()
            assert set(files(folder)) == before and (status == 0 or error.startswith("error: damaged: "))


@pytest.mark.parametrize("suffix", [".onnx", ".mindir"])
def test_deployment(capsys, folder, monkeypatch, suffix):
    """What the export writes is its own tests' matter."""
    got = []
    monkeypatch.setattr(convert.wv, "export", lambda detector, path: (got.append(detector), path.write_bytes(b"x" * 7)))
    status, out, _ = run(capsys, "official.ckpt", f"x{suffix}", "k=5")
    assert status == 0 and out.endswith(f"\nwritten     x{suffix}, 7 bytes\n")
    assert got[0].config == wv.load("own.safetensors").config


def test_export_writes_what_convert_writes_and_no_checkpoint(capsys, folder, monkeypatch):
    monkeypatch.setattr(convert.wv, "export", lambda detector, path: path.write_bytes(detector.method.encode()))
    expected = run(capsys, "official.ckpt", "x.onnx", "k=5")
    for words, result in ((["x.onnx"], expected), (["x.pt"], (2, "", "error: x.pt: expected the suffix .mindir or .onnx; "
                                                                "`wvad convert` writes checkpoints\n"))):
        (folder / "x.onnx").unlink(missing_ok=True)
        with pytest.raises(SystemExit) as end:
            process.run(command.main, ["export", "official.ckpt", *words, "k=5"])
        captured = capsys.readouterr()
        assert (end.value.code, captured.out, captured.err) == result
        assert (folder / "x.onnx").exists() == (words == ["x.onnx"]) and not (folder / "x.pt").exists()


def test_a_tensor_in_a_file_of_its_own(capsys, folder):
    """A published checkpoint that lacks one, as its network takes it as an input."""
    _, contents = formats.read(folder / "official.ckpt")
    name = "net.classifier.0.weight" if "net.classifier.0.weight" in contents.tensors else sorted(contents.tensors)[-1]
    np.save(folder / "apart.npy", contents.tensors.pop(name))
    mindspore.write(folder / "lacks.ckpt", contents)
    assert run(capsys, "lacks.ckpt", "x.pt", "k=5", "--method", "saa")[0] == 2
    given = ["--companion", f"{name}=apart.npy"]
    assert run(capsys, "lacks.ckpt", "x.pt", "k=5", *given)[0] == run(capsys, "official.ckpt", "y.pt", "k=5")[0] == 0
    assert digest(wv.load("x.pt").weights()) == digest(wv.load("y.pt").weights())
    for argv in (["inspect", "lacks.ckpt", "k=5", *given], ["convert", "lacks.ckpt", "k=5", "--check", *given]):
        with pytest.raises(SystemExit) as end:
            process.run(command.main, argv)
        assert end.value.code == 0 and "method      saa, by its tensors" in capsys.readouterr().out
    assert "was given" in run(capsys, "official.ckpt", "z.pt", "k=5", *given)[2]


def test_a_published_file_is_scored(capsys, world):
    made = wv.create("saa", feature_dim=8, seed=3)
    state = {theirs: made.weights()[ours] for theirs, ours in wv.published_names("saa", feature_dim=8).items()}
    world.options["checkpoint"] = world.root / "official.pkl"
    formats.by_suffix(world.options["checkpoint"]).write(world.options["checkpoint"], Contents(state, {}))
    test_10crop.main(world.argv)
    assert "method      saa\n" in capsys.readouterr().out
    made.save(world.root / "own.safetensors")
    with np.load(world.root / "results" / "scores.npz") as stored:
        scores = {name: stored[name] for name in stored.files}
    world.options |= {"checkpoint": world.root / "own.safetensors", "output": world.root / "again"}
    test_10crop.main(world.argv)
    with np.load(world.root / "again" / "scores.npz") as stored:
        assert all(np.array_equal(stored[name], scores[name]) for name in scores)


@pytest.mark.parametrize("word, expected", [
    ("k=3", ("k", 3)), ("dropout=0.5", ("dropout", 0.5)), ("variant=lstm", ("variant", "lstm")), ("a=1,2", ("a", [1, 2])),
    ("a=34,", ("a", [34])), ("a=[34]", ("a", [34])), ("a=", ("a", "")), ("a=x,y", ("a", "x,y"))])
def test_settings(word, expected):
    assert options.setting(word) == expected


def test_the_core_alone(folder):
    """Where neither framework can be imported, and nothing that was loaded is one."""
    code = ("import runpy, sys; sys.modules['torch'] = sys.modules['mindspore'] = None; sys.argv = sys.argv[1:]\n"
            "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "finally: print({n.partition('.')[0] for n in sys.modules} & {'onnx', 'matplotlib', 'google'})")
    for words in (["official.ckpt", "x.pth"], ["x.pth", "y.safetensors"], ["y.safetensors", "z.ckpt"]):
        done = subprocess.run([sys.executable, "-c", code, tool.__file__, *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith("set()\n")
    assert digest(wv.load("z.ckpt").weights()) == digest(wv.load("own.safetensors").weights())


def test_without_what_training_alone_takes(capsys, folder):
    """A small text encoder is gone; of a method that has nothing to leave out, the file is written as ever."""
    small = {"feature_dim": 16, "max_length": 16, "depth": 1, "classes": ("normal", "abuse"), "token_ids": ("0", "1"),
             "text_width": 8, "text_heads": 1, "text_depth": 1, "vocabulary": 5}
    wv.create("vadclip", **small).save(folder / "whole.safetensors")
    assert run(capsys, "whole.safetensors", "small.safetensors", "--deployed")[0] == 0
    whole, loaded = wv.load(folder / "whole.safetensors"), wv.load(folder / "small.safetensors")
    video = np.random.default_rng(0).random((20, 16), np.float32)
    assert loaded.config.text == "features" and not any("clipmodel" in name for name in loaded.weights())
    assert np.allclose(loaded.classify(video), whole.classify(video), rtol=1e-5)
    assert run(capsys, "own.safetensors", "same.safetensors", "--deployed")[0] == 0
    assert wv.load(folder / "same.safetensors").config == wv.load(folder / "own.safetensors").config
