"""wv.train: what it gives back, fine-tuning from a checkpoint, and runs that go on."""
import json
from pathlib import Path

import numpy as np
import pytest
from test_train import TINY, VIDEOS, everything, videos  # noqa: F401, a fixture

import wvad_core as wv
from wvad_core.registry import specification
from wvad_core.scoring import evaluation
from wvad_core.training import experiment, planning, run_folder, selection
from wvad_core.training.initial import initial_weights
from wvad_core.training.loop import read_training_set
from wvad_core.training.overrides import parse
from wvad_core.training.run_folder import BEST, HISTORY, Run, read_run

pytestmark = pytest.mark.needs("torch")
SMALL = parse(TINY)


def train(**changes):
    """A small run on the videos of the fixture, on the CPU."""
    return wv.train("bn-wvad", "own.csv", "features", device="cpu", recipe="xd-violence", **SMALL | changes)


def test_a_run_in_memory_gives_detector_report_and_history_and_writes_nothing(videos):
    folder = videos()
    train()  # the cache is written
    before = everything(folder)
    result = train()
    assert everything(folder) == before and result.folder is None
    test = wv.data.Dataset.open("own.csv", "features")
    for detector, name in ((result.detector, "best"), (result.last, "last")):
        assert wv.evaluate(detector, test, replicates=2).metrics == pytest.approx(result.report[name]["metrics"], abs=1e-6)
    assert [line["step"] for line in result.history if "total" in line] == [1, 2, 3, 4, 5, 6]
    assert result.plan.overrides == SMALL and result.plan.recipe_of == "xd-violence"


def test_a_run_in_a_folder_is_the_same_one_and_says_where_its_recipe_is_from(videos):
    folder = videos()
    inside, outside = train(), train(output="run", seed=0)
    seed2022 = train(output="authors")
    assert outside.folder.samefile(folder / "run") and (outside.folder / BEST).exists()
    assert all(np.array_equal(value, seed2022.detector.weights()[name]) for name, value in inside.detector.weights().items())
    assert any(not np.array_equal(v, outside.detector.weights()[n]) for n, v in inside.detector.weights().items())
    written = json.loads((folder / "run" / "recipe.json").read_text())
    assert (written["recipe_of"], written["recipe"]["seed"], written["options"]["seed"]) == ("xd-violence", 2022, 0)
    assert written["overrides"]["steps"] == 6 and written["overrides"]["seed"] == 0
    assert wv.load(folder / "run" / BEST).config == outside.detector.config
    for name in ("best", "last"):
        assert wv.Report.load(folder / "run" / name).metrics == pytest.approx(outside.report[name]["metrics"])


@pytest.mark.parametrize("given, message", [
    ({"resume": "run", "output": "other"}, "resume goes on with a run as it was begun, expected nothing but device, dataset, features and steps beside it"),
    ({}, "no method is given"), ({"method": "bn-wvad", "output": "there"}, "there: is there already, expected a new folder"),
    ({"method": "bn-wvad", "stepz": 3}, "have no value 'stepz'; did you mean steps"),
    ({"method": "bn-wvad", "steps": 2.5}, "setting steps: expected a positive whole number, found 2.5")])
def test_arguments_that_do_not_fit_together(videos, given, message):
    folder = videos()
    (folder / "there").mkdir()
    (folder / "there" / "mine.txt").write_text("mine")
    before = everything(folder)
    with pytest.raises(wv.InputError, match=message):
        wv.train(**given)
    assert everything(folder) == before


def stop_at(monkeypatch, step):
    """Stop the run when this step is recorded."""
    def record(self, line, record=run_folder.Run.record):
        if line["step"] == step:
            raise KeyboardInterrupt
        record(self, line)

    monkeypatch.setattr(run_folder.Run, "record", record)


def first_losses(detector, folder):
    """Of the detector, on the first batch of a run."""
    plan = planning.read_plan(folder)
    training_set = read_training_set(plan.open("train"), plan.recipe, plan.method, plan.config)
    return detector.losses(training_set.batch(0, plan.recipe.videos, plan.options.seed))


def test_fine_tuning_starts_where_the_checkpoint_is(videos):
    """The network has no dropout: its first loss is that of the checkpoint, and not that of fresh weights."""
    folder = videos()
    train(output="run", seed=1, learning_rate=1e-2)
    tuned = train(output="tuned", seed=2, init=folder / "run" / BEST)
    start = next(line for line in tuned.history if "total" in line)
    expected = first_losses(wv.load(folder / "run" / BEST, "torch", "cpu"), folder / "tuned")
    assert {name: start[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    fresh = wv.create("bn-wvad", "torch", "cpu", seed=2, **tuned.plan.config.as_dict())
    assert first_losses(fresh, folder / "tuned")["total"] != pytest.approx(start["total"], rel=1e-3)
    for found in (tuned.report["initial"], json.loads((folder / "tuned" / "recipe.json").read_text())["initial"]):
        assert found["file"] == str(folder / "run" / BEST) and list(found["fresh"]) == []
        assert set(found["taken"]) == {n for n in tuned.detector.weights() if not n.endswith("num_batches_tracked")}
    assert any(f"{BEST}: {len(found['taken'])} of {len(found['taken'])} tensors are taken" in line
               for line in tuned.report["notices"])


def test_another_feature_dim_and_another_head_are_fresh(videos):
    """The embedding's convolution has the features' D, the head's first one its ratio: fresh; all else is taken."""
    folder = videos()
    wv.create("bn-wvad", seed=5, **{**train().plan.config.as_dict(), "feature_dim": 24, "ratios": (8, 4)}).save("other.pt")
    tuned = train(output="tuned", init="other.pt", steps=1, evaluate_every=1, learning_rate=1e-9)
    other, ours = wv.load("other.pt").weights(), tuned.last.weights()
    fresh = {name for name, value in ours.items() if value.shape != other[name].shape}
    assert set(tuned.report["initial"]["fresh"]) == fresh and 0 < len(fresh) < len(ours)
    drawn = wv.create("bn-wvad", seed=tuned.plan.options.seed, **tuned.plan.config.as_dict()).weights()
    for name, value in ours.items():
        if "running" not in name and not name.endswith("num_batches_tracked"):
            assert np.allclose(value, (drawn if name in fresh else other)[name], atol=1e-6), name
    assert wv.load(folder / "tuned" / BEST).config.feature_dim == 8


def test_a_published_checkpoint_is_fine_tuned(videos):
    """By the authors' names, without metadata: the same first loss as from this library's file."""
    import torch

    folder = videos()
    made = train().detector
    made.save("ours.safetensors")
    names = wv.published_names("bn-wvad", **made.config.as_dict())
    torch.save({name: torch.tensor(made.weights()[canonical]) for name, canonical in names.items()}, "theirs.pkl")
    ours, theirs = (train(init=folder / file).history[0]["total"] for file in ("ours.safetensors", "theirs.pkl"))
    assert ours == theirs


def test_a_checkpoint_of_which_nothing_fits(videos):
    folder = videos()
    train()
    wv.create("bn-wvad", **{**train().plan.config.as_dict(), "channels": 32, "head_dim": 16, "feed_forward_dim": 24,
                            "feature_dim": 24, "ratios": (2, 2)}).save("other.safetensors")
    wv.create("rtfm", feature_dim=8, hidden_dims=(4, 4)).save("rtfm.safetensors")
    before = everything(folder)
    with pytest.raises(wv.InputError, match=r"other.safetensors: none of its \d+ matrices and kernels .*its settings are .*channels=32"):
        train(output="tuned", init="other.safetensors")
    with pytest.raises(wv.InputError, match="rtfm.safetensors: a checkpoint of method rtfm, expected bn-wvad"):
        train(output="tuned", init="rtfm.safetensors")
    with pytest.raises(wv.InputError, match="nowhere.pt"):
        train(output="tuned", init="nowhere.pt")
    assert everything(folder) == before


def test_with_stages_the_first_one_starts_from_what_fits_it(tmp_path):
    """A file of stage 3 has patches, which stage 1 has not: its clip aggregation and head are taken."""
    small = {"feature_dim": 16, "hidden_dims": (8, 4)}
    made = wv.create("ssrl", seed=3, stage=3, **small)
    made.save(tmp_path / "stage3.safetensors")
    config = specification("ssrl").Config(**small)
    weights, initial = initial_weights(tmp_path / "stage3.safetensors", "ssrl", config, 0)
    first = specification("ssrl").parameters(specification("ssrl").stages(config)[0])
    assert weights.keys() == first.keys() and not initial.fresh
    for name in initial.taken:
        assert np.array_equal(weights[name], made.weights()[name])


def test_a_run_that_fine_tunes_goes_on_without_the_checkpoint(videos, monkeypatch):
    folder = videos()
    train().detector.save("start.safetensors")
    whole = train(output="whole", init="start.safetensors")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_at(patched, 4)
        train(output="run", init="start.safetensors")
    (folder / "start.safetensors").unlink()
    resumed = wv.train(resume="run")
    assert (folder / "run" / HISTORY).read_bytes() == (folder / "whole" / HISTORY).read_bytes()
    assert all(np.array_equal(value, resumed.detector.weights()[name]) for name, value in whole.detector.weights().items())
    assert resumed.report["initial"] == whole.report["initial"]


def test_reading_a_run_changes_nothing(videos):
    folder = videos()
    assert read_run(folder / "run") is None and not (folder / "run").exists()
    result = train(output="run")
    before = everything(folder)
    found = read_run(folder / "run")
    assert found.history == result.history and found.saved.position.step == 6
    assert all(np.array_equal(value, found.best[name]) for name, value in result.detector.weights().items())
    assert found.plan["recipe_of"] == "xd-violence" and everything(folder) == before


def test_one_process_trains_in_a_folder_at_a_time(videos, monkeypatch):
    folder, errors = videos(), []

    def record(self, line, record=run_folder.Run.record):
        record(self, line)
        if line["step"] == 5 and not errors:
            before = everything(folder / "run")
            with pytest.raises(wv.InputError) as raised:
                wv.train(resume="run")
            errors.append(str(raised.value))
            assert everything(folder / "run") == before

    monkeypatch.setattr(run_folder.Run, "record", record)
    train(output="run")
    assert errors == ["run: another process trains in it, expected one at a time"]
    assert wv.train(resume="run").report["last"]["step"] == 6, "the lock ends with training"


def test_a_run_that_has_gone_on_since_it_was_read_is_not_written_over(videos, monkeypatch):
    folder = videos()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_at(patched, 4)
        train(output="run")
    late = Run(folder / "run")
    wv.train(resume="run")
    before = everything(folder / "run")
    with pytest.raises(wv.InputError, match="run: another process has trained in it since it was read"), late:
        late.record({"stage": 1, "step": 3, "total": 0.0})
    after = everything(folder / "run")
    assert {path for path in after if after[path] != before.get(path)} <= {str(folder / "run" / ".lock")}


def test_a_validation_computes_only_its_metric(videos, monkeypatch):
    """No hash of the weights, no bootstrap, no other metric; and features that were found finite are not checked again."""
    folder = videos()
    counts = {}

    def counted(module, name):
        whole = getattr(module, name)

        def function(*given, **named):
            counts[name] = counts.get(name, 0) + 1
            return whole(*given, **named)

        monkeypatch.setattr(module, name, function)

    for module, name in ((evaluation, "digest"), (evaluation.metrics, "bootstrap"), (evaluation, "metrics_of"),
                         (evaluation, "describe"), (selection, "scored")):
        counted(module, name)
    monkeypatch.setitem(selection.RANKINGS, "auc", lambda *_: counts.update(auc=counts.get("auc", 0) + 1) or 0.5)
    plan = train().plan
    counts.clear()
    validate = selection.validator(plan.recipe, plan.open("test"), plan.open("train"), None)
    detector = wv.create("bn-wvad", "torch", "cpu", **plan.config.as_dict())
    for _ in range(3):
        validate(detector)
    assert counts == {"scored": 3, "auc": 3}


def test_training_draws_nothing_and_reports_know_nothing_of_it():
    """Whoever calls it draws and tells; arrows point one way."""
    training = Path(experiment.__file__).parent
    taken = {line for path in training.glob("*.py") for line in path.read_text().splitlines() if "import" in line and "reports" in line}
    assert taken == {"from ..reports.results import summarise"}
    assert not [path.name for path in (training.parent / "reports").glob("*.py") if "..training" in path.read_text()]


def test_a_run_goes_on_for_longer(videos):
    folder = videos()
    train(output="run", steps=4)
    whole, longer = train(output="whole"), wv.train(resume="run", steps=6)
    assert [line["step"] for line in longer.history if "total" in line] == [1, 2, 3, 4, 5, 6]
    assert json.loads((folder / "run" / "recipe.json").read_text())["recipe"]["steps"] == 6
    assert longer.report["last"]["step"] == whole.report["last"]["step"] == 6
