"""tools/train.py on a small dataset: what a run leaves, what it says, and what it refuses."""
import json

import command_line
import numpy as np
import pytest
import test_10crop
import train as tool

import wvad_core as wv
from wvad_core import experiments
from wvad_core.runs import BEST, HISTORY, LAST, STATE

pytestmark = pytest.mark.needs("torch")
TINY = ["feature_dim=8", "channels=16", "depth=1", "heads=1", "head_dim=8", "feed_forward_dim=8", "ratios=4,4", "segments=6",
        "videos=2", "steps=6", "evaluate_every=3", "save_every=2", "metric=auc"]
VIDEOS = {"Riot01": ("train", "Riot", 90, ""), "Riot02": ("train", "Riot", 64, ""), "Fight03": ("train", "Fight", 40, ""),
          "Normal01": ("train", "Normal", 100, ""), "Normal02": ("train", "Normal", 80, ""),
          "Normal03": ("train", "Normal", 33, ""), "Riot11": ("test", "Riot", 96, "16-48"),
          "Normal11": ("test", "Normal", 80, "")}


@pytest.fixture
def videos(tmp_path, monkeypatch):
    """own.csv and features/; the cache beside them. Gives a function that writes them, of chosen videos."""
    monkeypatch.setenv("WVAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def write(chosen=VIDEOS, like=None):
        rows = [",".join([name, *map(str, row)]) for name, row in chosen.items()]
        (tmp_path / "own.csv").write_text("\n".join(["video,split,category,frames,intervals", *rows]) + "\n")
        (tmp_path / "features").mkdir(exist_ok=True)
        for number, (name, row) in enumerate(chosen.items()):
            seed = list(chosen).index((like or {}).get(name, name))
            features = np.random.default_rng(seed).random((-(-row[2] // 16), 8), np.float32)
            np.save(tmp_path / "features" / f"{name}__0.npy", features)
        return tmp_path

    return write


def words(*more, output="run"):
    return ["--method", "bn-wvad", "--dataset", "own.csv", "--recipe", "xd-violence", "--features", "features",
            "--output", output, *TINY, *more]


def ends(status, argv, capsys):
    with pytest.raises(SystemExit) as end:
        command_line.run(tool.main, argv)
    assert end.value.code == status
    printed = capsys.readouterr()
    return printed.out if status == 0 else printed.err.splitlines()[-1]  # before it, what is cached


def test_a_run_leaves_its_files_and_its_best_is_scored(videos, capsys):
    folder = videos() / "run"
    printed = ends(0, words(), capsys)
    assert {BEST, LAST, STATE, HISTORY, "recipe.json", "report.json", "curves.png"} <= {p.name for p in folder.iterdir()}
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    report = json.loads((folder / "report.json").read_text())
    assert "chosen by its AUC on the test set" in report["selected"] and report["selected"] in printed
    assert report["best"]["step"] in (3, 6) and report["last"]["step"] == 6
    lines = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    assert [line["step"] for line in lines if "total" in line] == [1, 2, 3, 4, 5, 6]
    assert json.loads((folder / "recipe.json").read_text())["recipe"]["settings"]["channels"] == 16
    with pytest.raises(SystemExit) as end:
        command_line.run(test_10crop.main, ["--dataset", "own.csv", "--features", "features", "--checkpoint",
                                            str(folder / BEST), "--output", "scored"])
    assert end.value.code == 0
    scored = json.loads(open("scored/report.json").read())
    assert scored["metrics"]["auc"] == pytest.approx(report["best"]["metrics"]["auc"], abs=1e-6)


def test_a_finished_run_is_resumed_to_the_same_report(videos, capsys):
    folder = videos() / "run"
    ends(0, words(), capsys)
    first = json.loads((folder / "report.json").read_text())
    printed = ends(0, ["--resume", "run"], capsys)
    again = json.loads((folder / "report.json").read_text())
    assert again["best"] == first["best"] and again["last"] == first["last"] and "best, step" in printed


def test_a_held_out_part_chooses_and_is_not_trained_on(videos, capsys):
    folder = videos() / "run"
    ends(0, words("select=holdout", "holdout=0.4"), capsys)
    report = json.loads((folder / "report.json").read_text())
    assert "by the AUC over the 2 training videos held out; the test set took no part" in report["selected"]
    assert any("2 abnormal training videos" in line for line in report["notices"]) is False
    plan = experiments.read_plan(folder)
    held = experiments.held_out(plan.open("train"), plan.recipe)
    assert [plan.open("train")[i].abnormal for i in held].count(True) == 1 and len(held) == 2


def test_several_seeds(videos, capsys):
    folder = videos() / "run"
    printed = ends(0, words("--seeds", "2", "seed=5"), capsys)
    assert json.loads((folder / "report.json").read_text())["seeds"] == [5, 6]
    found = [json.loads((folder / f"seed-{seed}" / "report.json").read_text()) for seed in (5, 6)]
    together = json.loads((folder / "report.json").read_text())
    values = [report["best"]["metrics"]["auc"] for report in found]
    assert together["best"]["auc"]["mean"] == pytest.approx(np.mean(values))
    assert together["best"]["auc"]["std"] == pytest.approx(np.std(values, ddof=1))
    assert "best, mean and std" in printed and "seed 6" in printed


def test_what_is_unusual_is_said(videos, capsys):
    chosen = VIDEOS | {"Riot02": ("train", "Riot", 16, ""), "Normal02": ("train", "Normal", 90, "")}
    videos(chosen, like={"Normal02": "Riot01"})
    printed = ends(0, [word if word != "videos=2" else "videos=4" for word in words()], capsys)
    assert "3 normal training videos for 4 of them a batch: some come more than once in it" in printed
    assert "1 training videos of a single snippet, which stands for all 6 segments: Riot02" in printed
    assert "same features, so one label is wrong: Normal02 = Riot01" in printed


@pytest.mark.parametrize("more, message", [
    (["stepz=3"], "bn-wvad and its recipe have no value 'stepz'; did you mean steps"),
    (["k"], "'k': expected KEY=VALUE"),
    (["select=train"], "setting select: expected test or holdout"),
    (["--backend", "numpy"], "the numpy backend does not train"),
    (["--backend", "jax"], "unknown backend 'jax'"),
    (["--seeds", "0"], "--seeds 0, expected 1 or more"),
    (["--method", "bn-wvd"], "unknown method 'bn-wvd'"),
    (["--recipe", "imagenet"], "bn-wvad has no recipe for imagenet, expected one of xd-violence, demo"),
    (["--features", "nowhere"], "nowhere"),
    (["--dataset", "ucf-crime"], "features"),
])
def test_bad_input(videos, capsys, more, message):
    folder = videos()
    error = ends(2, words(*more), capsys)
    assert error.startswith("error: ") and message in error
    assert not (folder / "run" / STATE).exists()


def test_no_abnormal_training_video(videos, capsys):
    videos({name: row for name, row in VIDEOS.items() if row[0] == "test" or row[1] == "Normal"})
    assert "own.csv has no abnormal training videos, expected at least one" in ends(2, words(), capsys)


def test_a_class_too_small_to_hold_out(videos, capsys):
    videos({name: row for name, row in VIDEOS.items() if name not in ("Riot01", "Riot02")})
    error = ends(2, words("select=holdout"), capsys)
    assert "own.csv has 1 abnormal training videos, expected at least 2 to hold one out; or select=test" in error


def test_a_loss_that_is_not_finite_ends_the_run_with_status_1(videos, capsys):
    folder = videos() / "run"
    error = ends(1, words("learning_rate=1e30"), capsys)
    assert error.startswith("error: ") and "is not finite" in error and "a lower learning rate may help" in error
    weights = wv.load(folder / LAST).weights()
    assert all(np.isfinite(value).all() for value in weights.values())


def test_a_folder_that_is_there_already_and_one_that_is_no_run(videos, capsys):
    folder = videos()
    (folder / "run").mkdir()
    (folder / "run" / "mine.txt").write_text("mine")
    assert "run: is there already; --resume run goes on with it, --output RUN begins another" in ends(2, words(), capsys)
    assert "expected the folder of a training run" in ends(2, ["--resume", "run"], capsys)
    assert "it takes no method, no seeds and no KEY=VALUE" in ends(2, ["--resume", "run", "steps=3"], capsys)
    assert [p.name for p in (folder / "run").iterdir()] == ["mine.txt"]
