"""Hostile command lines: random options, names that no file system likes, outputs that cannot be written.

Every command is tried in this process, with the streams that a terminal gives it: strict UTF-8, and bytes shown escaped.
"""
from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from random import Random

import cases
from array_cases import SETTINGS, feature_folder, report
from trials import Trial, kind

from wvad_core.cli import command, process
from wvad_core.errors import Failure, InputError

WORDS = ("", "-", "--", "-1", "0", "1", "10", "99999999999999999999", "9" * 5000, "nan", "1e999", "numpy", "Numpy",
         "no-such", "cpu", "cuda:99", "\udcff",
         "nul\0nul", "a\nb", "\x1b[2J", "x" * 5000, "/dev/null", "/dev/full", "/proc/self/mem", "/nonexistent/x",
         "../../x", "~", "%s%n", "a=b", "=", "a=",
         "=b", "prompts=/dev/zero", "feature_dim=16", "feature_dim=x", "hidden_dims=1,2", "hidden_dims=[[[",
         "depth=" + "[" * 5000, "ü", "🦆", "None",
         "ucf-crime", "demo.csv", "rtfm", "bn_wvad", "--help", "-h", "-vq", "-q", "-v", "--version", "--no-such",
         "--back", "--crops=3", "{}", "*", "$(touch ran)")
OPTIONS = {
    "test": ("--backend", "--method", "--dataset", "--features", "--checkpoint", "--allow-fresh", "--companion",
             "--crops", "--ground-truth", "--device",
             "--precision", "--output", "-q", "-v"),
    "inspect": ("--method", "--companion", "-q", "-v"),
    "convert": ("--method", "--companion", "--published", "--allow-fresh", "--check", "-q", "-v"),
    "dictionary": ("--dataset", "--features", "--output", "--ratio", "-q", "-v"),
    "compare": ("--replicates", "--seed", "-q", "-v"), "methods": ("-q", "-v"),
    "train": ("--method", "--dataset", "--features", "--recipe", "--init", "--companion", "--seeds", "--output",
              "--resume", "-q")}


def named(rng: Random, folder: Path) -> Path:
    """A folder in it, of a name that may be anything that a system allows."""
    made = folder / rng.choice(("plain", "plain", "a\nb", "\udcff", "\x1b[2J", "ü 🦆", "x" * 200, "-v", "%s {} $HOME", " "))
    made.mkdir()
    return made


def world(rng: Random, folder: Path) -> dict[str, str]:
    """A small dataset, a checkpoint, two reports, by the names of the options that take them."""
    table, features, _, _ = feature_folder(rng, folder)
    cases.detector(*SETTINGS, "numpy").save(folder / "weights.safetensors")
    for number in (0, 1):
        (folder / f"report-{number}").mkdir()
        for name, content in saved_report(folder, number).items():
            (folder / f"report-{number}" / name).write_bytes(content)
    return {"--dataset": str(table), "--features": str(features), "--checkpoint": str(folder / "weights.safetensors"),
            "--init": str(folder / "weights.safetensors"), "--backend": "numpy", "--output": str(folder / "out"),
            "--method": SETTINGS[0],
            "--device": "cpu", "--precision": "float32", "--crops": "10", "--replicates": "5", "--seed": "1", "--seeds": "2",
            "IN": str(folder / "weights.safetensors"), "OUT": str(folder / "out" / "w.ckpt"),
            "RUN": str(folder / "report-0"), "RUN2": str(folder / "report-1")}


def saved_report(folder: Path, number: int) -> dict[str, bytes]:
    inner = folder / "making"
    inner.mkdir(exist_ok=True)
    files = report(inner, number)[1]
    for path in sorted(inner.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    inner.rmdir()
    return files


def line(rng: Random, name: str, known: dict[str, str]) -> list[str]:
    """A command line that is right in most places."""
    words = [name]
    required = {"test": ["--backend", "--dataset", "--features", "--checkpoint"],
                "train": ["--dataset", "--features", "--method"]}.get(name, [])
    if name == "train":
        words += ["--backend", rng.choice(("numpy", "no-such"))]  # which trains nothing: no framework is imported
    positional = {"inspect": ["IN"], "convert": ["IN", "OUT"], "compare": ["RUN", "RUN2"]}.get(name, [])
    words += [known[word] if rng.random() < 0.8 else rng.choice(WORDS) for word in positional]
    for option in {*required, *rng.sample(OPTIONS[name], min(len(OPTIONS[name]), rng.randrange(4)))}:
        words.append(option)
        if option in known or not option.startswith(("-q", "-v", "--allow", "--published", "--check")) or rng.random() < 0.1:
            words.append(known.get(option, rng.choice(WORDS)) if rng.random() < 0.7 else rng.choice(WORDS))
    for _ in range(rng.randrange(3)):
        words.insert(rng.randrange(1, len(words) + 1), rng.choice(WORDS))
    return words


def run(words: list[str], noisy: bool = False) -> str:
    """What a command says on stdout where it ends well; else raises as a reader would. Its streams are bytes in the end.

    noisy: with -v, which has other lines on stderr too.
    """
    out, err = io.BytesIO(), io.BytesIO()
    streams = io.TextIOWrapper(out, "utf-8", "strict"), io.TextIOWrapper(err, "utf-8", "backslashreplace")
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            process.run(command.main, words)
        except SystemExit as end:
            status = end.code
    for stream in streams:
        stream.flush()
    said = err.getvalue().decode()
    if status == 0:
        return out.getvalue().decode()
    if status not in (1, 2):
        raise AssertionError(f"exit status {status}: {said}")
    *notes, message = re.split(r"^(?:error|wvad[^\n]*?: error): ", said, flags=re.MULTILINE)
    if noisy and notes:
        notes = [""]
    if len(notes) != 1 or any(text not in ("note", "usage") and not text.startswith(" ") for text in
                              (line.partition(":")[0] for line in notes[0].splitlines())):
        raise AssertionError(f"on stderr: {said[:500]!r}")
    raise (InputError if status == 2 else Failure)(message.removesuffix("\n"))


@kind("command line", 10)
def random_line(rng: Random, folder: Path) -> Trial:
    known = world(rng, named(rng, folder))
    name = rng.choice([*OPTIONS] * 6 + ["", "no-such", "--version", "help"])
    words = line(rng, name, known) if name in OPTIONS else [name, *rng.sample(WORDS, 2)]
    return Trial(lambda: run(words, noisy=any(word.startswith(("-v", "--v")) for word in words)), lambda said: True,
                 output=Path(known["--output"]))


@kind("command line, output that cannot be written", 2)
def unwritable(rng: Random, folder: Path) -> Trial:
    """The output is a file, lies in one, is a link to nowhere, or a device: nothing is written anywhere."""
    known = world(rng, named(rng, folder))
    target = folder / "target"
    how = rng.choice(("file", "below a file", "loop", "device", "proc", "name too long", "nul"))
    if how in ("file", "below a file"):
        target.write_text("mine")
    elif how == "loop":
        target.symlink_to(target)
    output = {"below a file": str(target / "x"), "device": "/dev/full/x", "proc": "/proc/x",
              "name too long": str(folder / ("x" * 300)),
              "nul": str(folder / "a\0b")}.get(how, str(target))
    if rng.random() < 0.5:
        needed = ("--backend", "--dataset", "--features", "--checkpoint")
        words = ["test", *(word for option in needed for word in (option, known[option])),
                 "--output", output]
    else:
        words = ["convert", known["IN"], str(Path(output, "w.ckpt")) if how != "nul" else output + "/w.ckpt"]
    return Trial(lambda: run(words))
