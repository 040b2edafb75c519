"""What a training loop must not get wrong without a sign: random seeds, event files, ties, patches of later stages."""
import dataclasses
import json
import struct
from types import SimpleNamespace

import numpy as np
import pytest
import test_training_loop as loop
from tensorboardX.proto.event_pb2 import Event
from test_batches import dataset
from test_training_loop import FAULTS, OPTIONS, RECIPE, Stopped, begin, toy, training_set  # noqa: F401, fixtures

from wvad_core.data import TrainingSet
from wvad_core.methods import ssrl
from wvad_core.training import loop as training_loop
from wvad_core.training.loop import train
from wvad_core.training.options import Options
from wvad_core.training.recipe import Group
from wvad_core.training.run_folder import HISTORY, Run


@pytest.fixture
def seeds(monkeypatch):
    """The seeds that random numbers begin anew from, as (stage, step, seed); stages are told apart by the trainer."""
    found, trainers = [], []

    def reseed(trainer, seed):
        if trainer not in trainers:
            trainers.append(trainer)
        found.append((trainers.index(trainer), int(trainer.network["steps"]), seed))
        trainer.rng = np.random.default_rng(seed)

    monkeypatch.setattr(loop.Trainer, "reseed", reseed)
    return found


def test_random_numbers_begin_anew_in_every_stage_and_after_every_save(training_set, seeds):
    """Each time from another seed, also where the stage alone differs; another seed of the recipe gives others."""
    begin(training_set, stages=3)
    first = set(seed for *_, seed in seeds)
    saves = [(stage, seed) for stage, _, seed in seeds]
    assert len(set(saves)) == len(first) == 3 * (1 + 7), "at the start and after steps 3, 6 ... 18, 20 of each stage"
    seeds.clear()
    begin(training_set, options=dataclasses.replace(OPTIONS, seed=1), stages=3)
    assert not first & set(seed for *_, seed in seeds)


def scalars(folder, tag: str) -> list[tuple[int, float]]:
    """(step, value) of a tag in the event files of a folder, the oldest first, read by their published format."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, start = path.read_bytes(), 0
        while start < len(data):  # a record: its length, 4 bytes of checksum, itself, 4 bytes of checksum
            (length,) = struct.unpack_from("<Q", data, start)
            event = Event.FromString(data[start + 12:start + 12 + length])
            found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == tag]
            start += length + 16
    return found


@pytest.mark.parametrize("stages, stopped", [(1, None), (1, 11), (2, 5), (2, 25)])
def test_event_files_count_the_steps_as_the_history_does(training_set, tmp_path, stages, stopped):
    """From 1 through all stages, also in a run that was stopped and resumed."""
    def latest(detector):
        return float(detector.network["steps"])

    if stopped:
        FAULTS[stopped] = loop.stop
        with pytest.raises(Stopped):
            begin(training_set, stages=stages, journal=Run(tmp_path), validate=latest)
        FAULTS.clear()
    for path in tmp_path.glob("events.out.tfevents.*"):
        path.rename(tmp_path / f"before {path.name}")
    journal = Run(tmp_path)
    begun = len(journal.history) - sum("validation" in line for line in journal.history)
    begin(training_set, stages=stages, journal=journal, validate=latest)
    journal._events.flush()
    lines = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    totals = [line["total"] for line in lines if "total" in line]
    assert begun == {None: 0, 11: 9, 5: 3, 25: 23}[stopped] and len(totals) == 20 * stages
    expected = [(step, pytest.approx(total)) for step, total in enumerate(totals, 1)]
    assert scalars(tmp_path, "loss/total") == expected[begun:]
    validated = [(sum("total" in before for before in lines[:i]), line["validation"]) for i, line in enumerate(lines) if "validation" in line]
    assert scalars(tmp_path, "validation/score") == [(step, value) for step, value in validated if step > begun]


def test_event_files_have_the_rates_of_every_group_and_the_plan(training_set, tmp_path):
    """A rate from the step on in which its group begins, anew in each stage."""
    recipe = dataclasses.replace(RECIPE, learning_rate=0.5, groups=(Group("head.", 0.25, warm_up=3),), schedule="step",
                                 decay=0.5, decay_steps=10)
    journal = Run(tmp_path, plan={"method": "m", "recipe": {"steps": 20}}, recipe=recipe, metric="auc")
    begin(training_set, stages=2, journal=journal, validate=lambda detector: float(detector.network["steps"]))
    journal._events.flush()
    rate = [0.5] * 10 + [0.25] * 10
    assert scalars(tmp_path, "rate/base") == list(enumerate(rate + rate, 1))
    assert [step for step, _ in scalars(tmp_path, "rate/head")] == [*range(4, 21), *range(24, 41)]
    assert [value for _, value in scalars(tmp_path, "rate/head")] == [value / 2 for value in 2 * rate[3:]]
    assert len(scalars(tmp_path, "validation/auc")) == 2 * 5
    written = b"".join(path.read_bytes() for path in tmp_path.glob("events.out.tfevents.*"))
    assert b'"method": "m"' in written


@pytest.mark.parametrize("values, best_step, kept", [
    ([1, 3, 3, 3, 2], 8, 8), ([5, 5, 5, 5, 5], 4, 4), ([1, 2, 3, 3, 4], 20, 20), ([0, -1, -1, 0, 0], 4, 4)])
def test_of_equal_validations_the_first_is_kept(training_set, values, best_step, kept):
    given = iter(map(float, values))
    trained = begin(training_set, validate=lambda detector: next(given))
    assert (trained.position.best, trained.position.best_step) == (max(values), best_step)
    assert trained.best["steps"] == kept


def test_a_tie_does_not_count_as_better_for_patience(training_set):
    given = iter([3.0, 3.0, 3.0, 9.0])
    trained = begin(training_set, options=dataclasses.replace(OPTIONS, patience=2), validate=lambda detector: next(given))
    assert (trained.position.step, trained.position.best_step) == (12, 4)


def test_patches_of_later_stages_are_left_out_of_every_batch(monkeypatch):
    """Three stages of 6 and 15 patches more, whose videos have 4 crops before them: 4, then 10, then all 25 rows."""
    configs = [ssrl.Config(stage=stage) for stage in (1, 2, 3)]
    spec = SimpleNamespace(parameters=lambda config: {}, stages=lambda config: configs,
                           next_stage=lambda best, config, seed: best)
    monkeypatch.setattr(training_loop, "specification", lambda method: spec)
    whole, seen, validated = TrainingSet(dataset(crops=25), 4), [], []

    def step(trainer, batch):
        seen.append(batch)
        trainer.network["steps"] = trainer.network["steps"] + 1
        return {"total": 1.0}

    monkeypatch.setattr(loop.Trainer, "step", step)
    recipe = dataclasses.replace(RECIPE, steps=2)
    train("toy", configs[-1], whole, recipe, "toy", validate=lambda detector: validated.append(detector.later) or 1.0,
          options=Options(evaluate_every=2))
    assert [batch.features.shape[1] for batch in seen] == [4, 4, 10, 10, 25, 25]
    assert validated == [21, 15, 0], "a validated detector drops them too"
    for batch in seen:
        assert np.array_equal(batch.features, whole.features[batch.videos][:, :batch.features.shape[1]])
