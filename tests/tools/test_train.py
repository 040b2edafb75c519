"""tools/train.py on a small dataset: what a run leaves, what it says, and what it refuses."""
import json
import re
import sys

import numpy as np
import pytest
import test_10crop
import train as tool

import wvad_core as wv
from wvad_core.checkpoints.contents import digest
from wvad_core.cli import compare, process, train
from wvad_core.data import TrainingSet, demo
from wvad_core.registry import specification
from wvad_core.scoring import evaluation
from wvad_core.training import experiment, planning, selection
from wvad_core.training import run_folder
from wvad_core.training.overrides import parse, resolve
from wvad_core.training.run_folder import BEST, HISTORY, LAST, STATE

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
    """The command line. KEY=VALUE words among `more` take the place of TINY's."""
    keys = {word.partition("=")[0] for word in more}
    return ["--method", "bn-wvad", "--dataset", "own.csv", "--recipe", "xd-violence", "--features", "features",
            "--output", output, *(word for word in TINY if word.partition("=")[0] not in keys), *more]


def ends(status, argv, capsys):
    with pytest.raises(SystemExit) as end:
        process.run(tool.main, argv)
    assert end.value.code == status
    printed = capsys.readouterr()
    return printed.out if status == 0 else printed.err.splitlines()[-1]  # before it, what is cached


def test_a_run_leaves_its_files_and_its_best_is_scored(videos, capsys):
    folder = videos() / "run"
    printed = ends(0, words(), capsys)
    assert {BEST, LAST, STATE, HISTORY, "recipe.json", "report.json", "curves.png", "best", "last"} <= {
        p.name for p in folder.iterdir()}
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    report = json.loads((folder / "report.json").read_text())
    assert "chosen by its AUC on the test set" in report["selected"] and report["selected"] in printed
    assert report["best"]["step"] in (3, 6) and report["last"]["step"] == 6
    assert (report["best"]["file"], report["last"]["file"]) == (BEST, LAST)
    lines = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    assert [line["step"] for line in lines if "total" in line] == [1, 2, 3, 4, 5, 6]
    validated = {line["step"]: line["validation"] for line in lines if "validation" in line}
    for entry in (report["best"], report["last"]):
        assert entry["validated_by"] == "AUC on the test set" and entry["stage"] == 1
        assert entry["validation"] == validated[entry["step"]] == entry["metrics"]["auc"]
        assert f"{100 * entry['validation']:.2f}" in printed
    assert report["best"]["validation"] == max(validated.values())
    assert json.loads((folder / "recipe.json").read_text())["recipe"]["settings"]["channels"] == 16
    with pytest.raises(SystemExit) as end:
        process.run(test_10crop.main, ["--dataset", "own.csv", "--features", "features", "--checkpoint",
                                       str(folder / BEST), "--output", "scored"])
    assert end.value.code == 0
    scored = json.loads(open("scored/report.json").read())
    assert scored["metrics"]["auc"] == pytest.approx(report["best"]["metrics"]["auc"], abs=1e-6)


@pytest.mark.parametrize("metric", ["auc", "ap"])
def test_the_report_says_of_the_best_and_of_the_last_weights_what_their_files_score(videos, capsys, metric):
    """Of a run whose first validations are its best: a high rate moves the weights far."""
    chosen = VIDEOS | {"Riot12": ("test", "Riot", 160, "40-90"), "Normal12": ("test", "Normal", 150, "")}
    folder = videos(chosen) / "run"
    own = {"steps": 8, "evaluate_every": 1, "learning_rate": 0.1, "metric": metric, "seed": 1}
    others = [word for word in words() if word.partition("=")[0] not in own]
    ends(0, others + [f"{name}={value}" for name, value in own.items()], capsys)
    report = json.loads((folder / "report.json").read_text())
    validated = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    validated = {line["step"]: line["validation"] for line in validated if "validation" in line}
    best = max(validated, key=validated.get)
    assert validated[best] > validated[8] and list(validated) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (report["best"]["step"], report["last"]["step"]) == (best, 8)
    test = planning.read_plan(folder).open("test")
    for name, file, step in (("best", BEST, best), ("last", LAST, 8)):
        detector = wv.load(folder / file)
        metrics, saved = wv.evaluate(detector, test).metrics, wv.Report.load(folder / name)
        assert saved.metrics == report[name]["metrics"] and saved.intervals["auc"][0] <= saved.metrics["auc"]
        assert saved.about["weights_sha256"] == evaluation.describe(detector, test)["weights_sha256"]
        assert (saved.about["checkpoint"], saved.about["step"]) == (f"run/{file}", step)
        for item, scored in zip(test, saved.videos):
            assert scored.scores == pytest.approx(detector.score(item.features.read()), abs=1e-5)
        for key in ("auc", "ap", "average_precision", "auc_sub", "ap_sub"):
            assert report[name]["metrics"][key] == pytest.approx(metrics[key], abs=1e-6), (name, key)
        assert validated[step] == pytest.approx(metrics[metric], abs=1e-6)
    assert report["best"]["metrics"]["auc"] != report["last"]["metrics"]["auc"]


@pytest.mark.parametrize("select, times", [("test", [2, 2]), ("holdout", [2, 2, 2, 2])])
def test_no_more_is_scored_than_validations_need(videos, capsys, monkeypatch, select, times):
    """Two validations; the report takes their scores, or with others held out those of best and last, one network each."""
    folder, counted, values = videos() / "run", [], iter([0.5, 0.25])
    whole = experiment.scored
    for module in (experiment, selection):
        monkeypatch.setattr(module, "scored", lambda *given, **more: counted.append(len(given[1])) or whole(*given, **more))
    monkeypatch.setattr(selection.metrics, "roc_auc", lambda *_: next(values))  # so best is not last
    monkeypatch.setitem(selection.RANKINGS, "auc", lambda *_: next(values))
    monkeypatch.setattr(experiment, "metrics_of", lambda found, probabilities: {name: 0.0 for name in train.SHOWN})
    monkeypatch.setattr(experiment, "save_reports", lambda *_: None)  # which takes metrics of what is scored
    ends(0, words(f"select={select}", "holdout=0.4"), capsys)
    report = json.loads((folder / "report.json").read_text())
    assert (report["best"]["step"], report["last"]["step"]) == (3, 6) and counted == times


def test_the_report_is_of_the_files_that_it_names_where_others_were_held_out(videos, capsys):
    folder = videos() / "run"
    ends(0, words("select=holdout", "evaluate_every=1"), capsys)
    report = json.loads((folder / "report.json").read_text())
    dataset = wv.data.Dataset.open("own.csv", "features")
    for entry in (report["best"], report["last"]):
        detector = wv.load(folder / entry["file"], "torch", "cpu")
        assert wv.evaluate(detector, dataset, replicates=2).metrics == entry["metrics"]


def test_two_runs_are_compared_by_their_best_weights(videos, capsys):
    videos()
    for name, seed in (("first", 0), ("second", 1)):
        ends(0, words("learning_rate=0.1", f"seed={seed}", output=name), capsys)
    compare.main(["first", "second", "--replicates", "20"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("[2]  second: bn-wvad, torch, own.csv, second/best.safetensors")
    best = [json.loads(open(f"{name}/report.json").read())["best"]["metrics"]["auc"] for name in ("first", "second")]
    line = next(line for line in printed if line.startswith("AUC ")).split()
    assert [line[1], line[5]] == [f"{100 * auc:.2f}" for auc in best]


def test_the_curves_say_what_was_trained_and_by_what_it_was_chosen(videos, capsys, monkeypatch):
    videos()
    drawn = []
    monkeypatch.setattr(train, "training_curves", lambda *given, draw=train.training_curves:
                        drawn.append(given) or draw(*given))
    ends(0, words("metric=ap", "--seeds", "1", "seed=3"), capsys)
    (history, title, detail, selection, weights), = drawn
    assert [line["step"] for line in history if "validation" in line] == [3, 6]
    assert title == "Training of bn-wvad on own.csv" and detail == "recipe of xd-violence, torch, seed 3"
    assert selection == "AP on the test set" and weights == {}


def test_without_matplotlib_a_run_has_no_curves_and_says_so(videos, capsys, monkeypatch):
    folder = videos() / "run"
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "no curves.png, matplotlib is not installed: pip install matplotlib\n" in ends(0, words(), capsys)
    assert (folder / "report.json").exists() and not (folder / "curves.png").exists()


def test_a_finished_run_is_resumed_to_the_same_report(videos, capsys):
    folder = videos() / "run"
    ends(0, words(), capsys)
    first = json.loads((folder / "report.json").read_text())
    printed = ends(0, ["--resume", "run"], capsys)
    again = json.loads((folder / "report.json").read_text())
    assert again["best"] == first["best"] and again["last"] == first["last"] and "best, step" in printed


def test_a_held_out_part_chooses_and_is_not_trained_on(videos, capsys, monkeypatch):
    folder, drawn, whole = videos() / "run", set(), TrainingSet.batch

    def batch(*given, **named):
        found = whole(*given, **named)
        drawn.update(found.videos.tolist())
        return found

    monkeypatch.setattr(TrainingSet, "batch", batch)
    ends(0, words("select=holdout", "holdout=0.4"), capsys)
    report = json.loads((folder / "report.json").read_text())
    assert "by the AUC over the 2 training videos held out; the test set took no part" in report["selected"]
    assert any("2 abnormal training videos" in line for line in report["notices"]) is False
    plan = planning.read_plan(folder)
    held = selection.held_out(plan.open("train"), plan.options)
    assert [plan.open("train")[i].abnormal for i in held].count(True) == 1 and len(held) == 2
    assert drawn == set(range(6)) - set(held.tolist())


@pytest.mark.parametrize("dataset", ["own.csv", "ucf-crime"])
def test_a_dataset_without_a_recipe_takes_another_and_says_so(videos, capsys, monkeypatch, dataset):
    """bn-wvad was published with XD-Violence's alone."""
    folder = videos()
    monkeypatch.setattr(planning.Dataset, "open", lambda name, *given, opened=planning.Dataset.open, **named:
                        opened("own.csv", *given, **named))
    argv = [word for word in words("--dataset", dataset) if word not in ("--recipe", "xd-violence")]
    assert f"\nrecipe of   xd-violence (there is none for {dataset}; --recipe takes another)\n" in ends(0, argv, capsys)
    used = json.loads((folder / "run" / "recipe.json").read_text())["recipe"]
    assert used["clip_norm"] == specification("bn-wvad").RECIPES["xd-violence"]["clip_norm"]


def test_a_recipe_that_is_asked_for_or_there_needs_no_reason(videos, capsys):
    videos()
    assert "\nrecipe of   xd-violence\n" in ends(0, words(), capsys)
    assert planning.recipe_for("rtfm", "ucf-crime") == "ucf-crime" and planning.recipe_for("bn-wvad", "demo") == "demo"


def test_without_a_method_the_demo_takes_its_default_and_others_need_one(videos, capsys):
    videos()
    given = ["--dataset", "demo", "--output", "run", "steps=1", "videos=2", "evaluate_every=1"]
    assert f"method      {demo.default_method()} (the smallest of the demo's checkpoints; " in ends(0, given, capsys)
    assert "--method is missing, expected one of adplg, " in ends(2, ["--dataset", "own.csv"], capsys)


def test_the_backend_by_default(videos, capsys, monkeypatch):
    videos()
    printed = ends(0, words(), capsys)
    assert "backend     torch, device auto, float32 (the first installed of torch, mindspore, numpy)\n" in printed
    monkeypatch.setattr(train.options, "default_backend", lambda otherwise: otherwise)  # as where none is installed
    monkeypatch.setitem(sys.modules, "wvad_torch.backend", None)
    assert re.search("backend torch cannot start .* pip install .*torch", ends(2, words(output="other"), capsys))


def test_where_the_report_is_ends_what_is_printed(videos, capsys):
    videos()
    assert ends(0, words(), capsys).endswith("\nwritten to run: report.json, best.safetensors, last.safetensors, ...\n")
    out = ends(0, words("-q", output="quiet"), capsys)
    assert out.startswith("\n") and "best, step" in out and "method" not in out and "written" not in out


def test_a_checkpoint_is_fine_tuned_and_what_is_fresh_is_said(videos, capsys):
    """A head of another size begins with fresh weights, the rest with the checkpoint's: a step of rate 0 leaves them."""
    folder = videos()
    ends(0, words(), capsys)
    printed = ends(0, words("--init", "run/best.safetensors", "ratios=4,8", "steps=1", "evaluate_every=1", "learning_rate=1e-30",
                            output="tuned"), capsys)
    fresh = re.search(r"^begins as +run/best.safetensors: \d+ of \d+ tensors are taken; fresh: (.*)$", printed, re.M)[1].split(", ")
    begun, tuned = (wv.load(folder / run / file).weights() for run, file in (("run", BEST), ("tuned", LAST)))
    same = {name for name in tuned if begun[name].shape == tuned[name].shape and np.array_equal(begun[name], tuned[name])}
    assert {"embedding.weight", "embedding.bias"} <= same and not same & set(fresh)
    assert {name for name in tuned if begun[name].shape != tuned[name].shape} <= set(fresh)
    assert "no checkpoint" in ends(2, ["--resume", "run", "--init", "run/best.safetensors"], capsys)
    assert "none.pt: no such checkpoint file" in ends(2, words("--init", "none.pt", output="other"), capsys)


def test_companions_are_the_datasets_of_every_batch(videos, capsys, monkeypatch):
    folder, seen, whole = videos(), [], TrainingSet.batch
    monkeypatch.setattr(TrainingSet, "batch", lambda *given, **named: seen.append(whole(*given, **named)) or seen[-1])
    monkeypatch.setattr(specification("bn-wvad"), "COMPANIONS", ("prompts",))
    np.save(folder / "texts.npy", np.arange(6.0).reshape(2, 3))
    printed = ends(0, words("--companion", "prompts=texts.npy"), capsys)
    assert "\ncompanions  prompts=texts.npy\n" in printed
    assert seen and all(np.array_equal(batch.companion("prompts"), [[0, 1, 2], [3, 4, 5]]) for batch in seen)
    ends(0, ["--resume", "run"], capsys)
    np.save(folder / "texts.npy", np.ones((2, 3)))
    assert "/texts.npy: have changed since the run was planned" in ends(2, ["--resume", "run"], capsys)
    for given, message in (("prompts", "companion 'prompts': expected NAME=FILE"), ("prompts=no.npy", "no.npy"),
                           ("texts=texts.npy", "bn-wvad trains with companions prompts, found texts")):
        assert message in ends(2, words("--companion", given, output="other"), capsys)
    assert not (folder / "other").exists()


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
    assert printed.endswith("\nwritten to run: report.json, and a run in each folder seed-N\n")


def test_what_is_unusual_is_said(videos, capsys):
    chosen = VIDEOS | {"Riot02": ("train", "Riot", 16, ""), "Normal02": ("train", "Normal", 90, "")}
    videos(chosen, like={"Normal02": "Riot01"})
    printed = ends(0, words("videos=4"), capsys)
    assert "3 normal training videos for 4 of them a batch: some come more than once in it" in printed
    assert "1 training videos of a single snippet, which stands for all 6 segments: Riot02" in printed
    assert "same features, so one label is wrong: Normal02 = Riot01" in printed


@pytest.mark.parametrize("more, message", [
    (["stepz=3"], "bn-wvad and its recipe have no value 'stepz'; did you mean steps"),
    (["k"], "'k': expected KEY=VALUE"),
    (["select=train"], "setting select: expected test or holdout"),
    (["--backend", "jax"], "unknown backend 'jax'"),
    (["--seeds", "0"], "--seeds 0, expected 1 or more"),
    (["--method", "bn-wvd"], "unknown method 'bn-wvd'"), (["--method", "bn_wvad"], "did you mean bn-wvad?"),
    (["steps=1e3.5"], "steps: expected"), (["steps=1.5e0"], "steps: expected a positive whole number"),
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
    error = ends(2, words(), capsys)
    assert "run: is there already; it holds no run to go on with, --output RUN begins another" in error
    assert "expected the folder of a training run" in ends(2, ["--resume", "run"], capsys)
    assert "companion and no KEY=VALUE but steps=N" in ends(2, ["--resume", "run", "videos=3"], capsys)
    assert [p.name for p in (folder / "run").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("resumes", [False, True])
def test_a_backend_that_does_not_train_is_refused_before_anything_is_read(videos, capsys, resumes):
    folder = videos()
    for features in (folder / "features").iterdir():
        features.write_bytes(b"not to be read")
    if resumes:
        (folder / "run").mkdir()
        plan = {"method": "bn-wvad", "dataset": "own.csv", "features": "features", "backend": "numpy", "device": "auto",
                "recipe_of": "xd-violence", "overrides": {}, **resolved(*TINY)}
        (folder / "run" / "recipe.json").write_text(json.dumps(plan))
        (folder / "run" / STATE).write_bytes(b"")
    argv = ["--resume", "run"] if resumes else [word for word in words("--backend", "numpy") if "feature_dim" not in word]
    before = everything(folder)
    for _ in range(2):  # the second try says the same
        error = ends(2, argv, capsys)
        assert error == "error: the numpy backend does not train, expected one that does, of mindspore, torch"
    assert everything(folder) == before


def resolved(*overrides):
    spec = specification("bn-wvad")
    found = resolve(spec.RECIPES["xd-violence"], spec.Config, parse(overrides), "bn-wvad")
    return {"recipe": found.recipe.as_dict(), "options": found.options.as_dict()}


def everything(folder):
    """All that is in a folder, and when it was changed."""
    return {str(path): (path.lstat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


@pytest.fixture
def stopped(videos, monkeypatch, capsys):
    """A run that was stopped behind its third step, saved after the second."""
    folder = videos() / "run"

    def stop(self, line, record=run_folder.Run.record):
        if line["step"] == 4:
            raise wv.InputError("stopped")
        record(self, line)

    with monkeypatch.context() as patched:
        patched.setattr(run_folder.Run, "record", stop)
        assert ends(2, words("evaluate_every=1"), capsys) == "error: stopped"
    return folder


def test_a_stopped_run_goes_on_to_the_report_of_one_left_alone(stopped, capsys):
    ends(0, words("evaluate_every=1", output="whole"), capsys)
    ends(0, ["--resume", "run"], capsys)
    whole, resumed = (json.loads((stopped.parent / name / "report.json").read_text()) for name in ("whole", "run"))
    assert (whole["best"], whole["last"]) == (resumed["best"], resumed["last"])
    assert (stopped / HISTORY).read_bytes() == (stopped.parent / "whole" / HISTORY).read_bytes()


def same_run(folder, other):
    """The report, the history, the weights and the recipe of two runs, which were begun with other words."""
    one, two = (json.loads((run / "report.json").read_text()) for run in (folder, other))
    assert (one["best"], one["last"]) == (two["best"], two["last"])
    assert (folder / HISTORY).read_bytes() == (other / HISTORY).read_bytes()
    for file in (BEST, LAST):
        assert digest(wv.load(folder / file).weights()) == digest(wv.load(other / file).weights())
    one, two = (json.loads((run / "recipe.json").read_text()) for run in (folder, other))
    assert (one["recipe"], one["options"]) == (two["recipe"], two["options"])


@pytest.mark.parametrize("extended", ["steps=8", "steps=8e0"])
def test_a_run_that_has_ended_goes_on_to_more_steps(videos, capsys, extended):
    """And ends as one that was to take so many from the start."""
    folder = videos()
    given = ["evaluate_every=2", "save_every=2"]
    ends(0, words(*given, "steps=8", output="whole"), capsys)
    ends(0, words(*given, "steps=4"), capsys)
    assert "8 steps a stage" in ends(0, ["--resume", "run", extended], capsys)
    same_run(folder / "run", folder / "whole")
    ends(0, ["--resume", "run"], capsys)
    same_run(folder / "run", folder / "whole")


@pytest.mark.parametrize("steps", [3, 9])
def test_a_stopped_run_goes_on_to_another_number_of_steps(stopped, capsys, steps):
    ends(0, words("evaluate_every=1", f"steps={steps}", output="whole"), capsys)
    ends(0, ["--resume", "run", f"steps={steps}"], capsys)
    same_run(stopped, stopped.parent / "whole")


@pytest.mark.parametrize("given, message", [
    ("steps=2", "run: has taken 2 of 6 steps, expected more than that, not steps=2"), ("steps=0", "steps: expected"),
    ("steps=soon", "steps: expected"), ("videos=4", "no KEY=VALUE but steps=N, to go on for longer")])
def test_other_numbers_of_steps_are_refused_and_change_nothing(stopped, capsys, given, message):
    before = everything(stopped)
    assert message in ends(2, ["--resume", "run", given], capsys)
    assert everything(stopped) == before


def test_a_run_that_has_waited_long_enough_does_not_go_on(videos, capsys):
    videos()
    ends(0, words("evaluate_every=1", "patience=1", "learning_rate=1e-12", "steps=4"), capsys)
    assert "run: ended after 2 steps, 1 validations without a better one (patience=1)" in ends(
        2, ["--resume", "run", "steps=8"], capsys)


def test_a_run_killed_while_it_is_told_to_go_on_is_told_again(stopped, capsys, monkeypatch):
    ends(0, words("evaluate_every=1", "steps=9", output="whole"), capsys)
    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "write_json", lambda *_: (_ for _ in ()).throw(wv.InputError("killed")))
        assert ends(2, ["--resume", "run", "steps=9"], capsys) == "error: killed"
    assert "its recipe.steps is 9, that of this one 6" in ends(2, ["--resume", "run"], capsys)
    ends(0, ["--resume", "run", "steps=9"], capsys)
    same_run(stopped, stopped.parent / "whole")


def test_fine_tuning_says_what_is_taken_and_what_is_fresh(videos, capsys):
    folder = videos()
    ends(0, words(), capsys)
    printed = ends(0, words("--init", "run/best.safetensors", "ratios=2,4", output="tuned"), capsys)
    initial = json.loads((folder / "tuned" / "report.json").read_text())["initial"]
    taken, fresh = len(initial["taken"]), initial["fresh"]
    assert fresh and all("head" in name for name in fresh)
    assert f"\nnote: run/best.safetensors: {taken} of {taken + len(fresh)} tensors are taken; fresh: {', '.join(fresh)}\n" in printed
    assert "it takes no method, no seeds" in ends(2, ["--resume", "run", "--init", "run/best.safetensors"], capsys)
    assert "nowhere.pt" in ends(2, words("--init", "nowhere.pt", output="other"), capsys) and not (folder / "other").exists()
