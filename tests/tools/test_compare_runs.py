"""`wvad compare`: what it prints of folders that the other commands wrote, and what it refuses."""
import numpy as np
import pytest

import wvad_core as wv
from wvad_core.cli import command, compare, process
from wvad_core.reports.comparison import BEST, compare as compare_reports
from wvad_core.reports.results import Report


@pytest.fixture
def runs(world, capsys):
    """Two folders that `wvad test` wrote, of two checkpoints."""
    from worlds import CONFIG

    command.main(["test", *world.argv])
    world.options |= {"checkpoint": world.root / "other.safetensors", "output": world.root / "other"}
    wv.create("bn-wvad", seed=2, **CONFIG).save(world.options["checkpoint"])
    command.main(["test", *world.argv])
    capsys.readouterr()
    return [str(world.root / name) for name in ("results", "other")]


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        process.run(command.main, ["compare", *words])
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return end.value.code, captured.err


def test_two_folders(capsys, runs):
    command.main(["compare", *runs, "--replicates", "40", "--seed", "3"])
    expected = compare_reports([Report.load(run) for run in runs], runs, 40, 3)
    assert capsys.readouterr().out == expected.table() + "\n"
    assert f"[2]  {runs[1]}: bn-wvad, " in expected.table() and "other.safetensors" in expected.table()


def test_a_training_run_stands_for_its_best_weights(capsys, runs, tmp_path):
    Report.load(runs[1]).save(tmp_path / "trained" / BEST)
    (tmp_path / "trained" / "report.json").write_text('{"best": {}}')
    compare.main([runs[0], str(tmp_path / "trained")])
    lines = capsys.readouterr().out
    compare.main(runs)
    assert lines.replace(str(tmp_path / "trained"), runs[1]) == capsys.readouterr().out


def test_what_is_refused(capsys, world, runs):
    assert refused(capsys, runs[0]) == (2, "error: found 1 to compare, expected two reports or more\n")
    code, message = refused(capsys, runs[0], str(world.root))
    assert code == 2 and f"{world.root}/report.json: cannot be read" in message
    assert refused(capsys, *runs, "--replicates", "0") == (2, "error: replicates: found 0, expected >= 1\n")
    assert refused(capsys, *runs, "--seed", "-1") == (2, "error: seed: found -1, expected >= 0\n")
    path = world.root / "other" / "scores.npz"
    with np.load(path) as stored:
        np.savez(path, **dict(stored))
    path.write_bytes(path.read_bytes() + b"x")
    assert "scores.npz: not the scores that report.json was written with" in refused(capsys, *runs)[1]


def test_runs_on_other_videos(capsys, world, runs):
    report = Report.load(runs[1])
    fewer = Report(report.metrics, report.intervals, report.categories, report.undefined, report.about, report.videos[1:])
    fewer.save(world.root / "fewer")
    assert refused(capsys, runs[0], str(world.root / "fewer")) == (
        2, f"error: {world.root}/fewer: not of the same videos as {runs[0]}; not in {world.root}/fewer: {report.videos[0].name}\n")


def test_a_page_is_written_where_it_is_asked_for(capsys, world, runs):
    assert not list(world.root.rglob("comparison*"))
    command.main(["compare", *runs, "--replicates", "10", "--output", str(world.root / "comparison")])
    assert capsys.readouterr().out.endswith(f"\n\nwritten to {world.root}/comparison: report.html\n")
    text = (world.root / "comparison" / "report.html").read_text()
    assert "Comparison of 2 runs" in text and "Riot01" in text
    code, message = refused(capsys, *runs, "--output", str(world.root / "own.csv"))
    assert code == 2 and message.startswith(f"error: {world.root}/own.csv: cannot be written")
