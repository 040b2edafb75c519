"""`wvad demo`: what somebody sees who has just installed the library."""
import re
from pathlib import Path

import pytest

import wvad_core as wv
from wvad_core.cli import command, demo, options, process
from wvad_core.data import demo as demo_set


@pytest.fixture(autouse=True)
def numpy_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WVAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda name: None)


def printed(capsys, *words):
    with pytest.raises(SystemExit) as end:
        process.run(command.main, words)
    out, error = capsys.readouterr()
    assert (end.value.code, error) == (0, "")
    return out


def test_it_says_which_method_and_backend_it_takes_and_why(capsys):
    out = printed(capsys, "demo")
    smallest = min(wv.list_methods(), key=lambda name: demo_set.demo_checkpoint(name).stat().st_size)
    assert re.search(rf"^method +{smallest} \(the smallest of the demo's checkpoints; --method takes another\)$", out, re.M)
    assert re.search(r"^backend +numpy \S+, cpu, float32 \(the first installed of torch, mindspore, numpy\)$", out, re.M)
    assert 90 < float(re.search(r"^AUC +([0-9.]+) ", out, re.M)[1]) < 100
    assert out.endswith(demo.NEXT + "\n")


def test_what_is_chosen_needs_no_reason(capsys):
    out = printed(capsys, "demo", "--method", "ar-net", "--backend", "numpy")
    assert re.search(r"^method +ar-net$", out, re.M) and re.search(r"^backend +numpy \S+, cpu, float32$", out, re.M)


def test_every_command_that_it_names_is_there():
    for name, options_ in re.findall(r"^  wvad (\w+)((?: (?:--\w+|\w+))*)", demo.NEXT, re.M):
        assert name in command.COMMANDS
        helped = command.module(name).parser(f"wvad {name}").format_help()
        assert all(word in helped for word in re.findall(r"--\w+", options_))


def test_quietly_the_table_alone(capsys):
    loud, quiet = printed(capsys, "demo", "--backend", "numpy"), printed(capsys, "demo", "--backend", "numpy", "-q")
    assert quiet.startswith(" " * 42 + "  percent") and "scored in" not in quiet and quiet.rstrip("\n") in loud


def test_more_is_said_on_request(capsys, tmp_path):
    with pytest.raises(SystemExit):
        process.run(command.main, ["demo", "-v", "--output", str(tmp_path / "results")])
    lines = capsys.readouterr().err.splitlines()
    checkpoint = demo_set.demo_checkpoint(demo_set.default_method())
    assert f"{checkpoint}: safetensors, {len(wv.load(checkpoint).weights())} tensors" in lines
    assert sum(line.endswith(" snippets scored") for line in lines) == 24 and any("the 24 test videos of demo" in line for line in lines)
    assert f"written {tmp_path}/results/report.json" in lines


def test_test_and_demo_are_the_same_without_arguments(capsys):
    table = [re.search(r"\n\n( +percent.*?\n\n.*?)\n\n", printed(capsys, name), re.DOTALL)[1] for name in ("demo", "test")]
    assert table[0] == table[1]


def test_a_report_names_the_command(capsys, tmp_path):
    printed(capsys, "demo", "--output", str(tmp_path / "results"))
    assert f'"command": "wvad demo --output {tmp_path}/results"' in Path(tmp_path / "results" / "report.json").read_text()
