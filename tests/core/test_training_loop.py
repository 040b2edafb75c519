"""The training loop, with a backend whose training is two lines of NumPy: stages, validations, saving, stopping, resuming."""
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from test_batches import dataset

import wvad_core as wv
from wvad_core.checkpoints.formats import safetensors
from wvad_core.data import TrainingSet
from wvad_core.errors import Failure, InputError
from wvad_core.training import loop as training_loop
from wvad_core.training.loop import Journal, Position, train
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe
from wvad_core.training.run_folder import BEST, HISTORY, LAST, LOCK, STATE, Run

RECIPE = Recipe(segments=4, videos=2, steps=20, crops="all")
OPTIONS = Options(evaluate_every=4, save_every=3)


class Trainer:
    """Moves its weight by the batch's mean and a random number; remembers a momentum."""

    def __init__(self, detector, recipe, options):
        self.network, self.momentum, self.rng, self.fails = detector.network, 0.0, None, {}

    def step(self, batch):
        self.momentum = 0.9 * self.momentum + float(batch.features.mean()) + self.rng.random()
        self.network["w"] = self.network["w"] + np.float32(self.momentum)
        number = self.network["steps"] = self.network["steps"] + 1
        FAULTS.get(int(number), lambda trainer: None)(self)
        return {"total": self.momentum, "part": FAULTS.get("part", {}).get(int(number), 0.5)}

    def state(self):
        return {"momentum": np.array(self.momentum)}

    def restore(self, state):
        self.momentum = float(state["momentum"])

    def take(self, weights):
        self.network.update({name: np.array(value) for name, value in weights.items()})

    def reseed(self, seed):
        self.rng = np.random.default_rng(seed)


FAULTS = {}
"""What happens at a step, and what a term is there."""


class Stopped(Exception):
    """Stands for whatever ends a process."""


def stop(trainer):
    raise Stopped


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """The method, the backend and the detectors of this file. A second stage starts from ten times the best weight."""
    backend = SimpleNamespace(weights=dict, processes=lambda: (0, 1))

    def from_weights(method, config, weights, *_, **__):
        network = {name: np.array(value) for name, value in weights.items()}
        return wv.Detector("bn-wvad", config, "toy", backend, network)

    spec = SimpleNamespace(parameters=lambda config: {}, stages=lambda config: (config,) * config.stages,
                           next_stage=lambda best, config, seed: {"w": 10 * best["w"], "steps": best["steps"]})
    monkeypatch.setattr(training_loop, "specification", lambda method: spec)
    monkeypatch.setattr(training_loop, "from_weights", from_weights)
    monkeypatch.setattr(training_loop, "Trainer", Trainer)
    monkeypatch.setattr(training_loop, "draw", lambda parameters, seed: {"w": np.float32(0), "steps": np.int64(0)})
    FAULTS.clear()


@pytest.fixture(scope="module")
def training_set():
    return TrainingSet(dataset(), 4)


def begin(training_set, recipe=RECIPE, stages=1, journal=None, validate=lambda detector: float(np.sin(detector.network["w"])),
          options=OPTIONS):
    config = SimpleNamespace(patches=0, stages=stages, as_dict=dict, crops_of=int)
    return train("toy", config, training_set, recipe, "toy", validate=validate, journal=journal, options=options)


def test_history_validations_and_the_best(training_set):
    journal = Journal()
    trained = begin(training_set, journal=journal)
    steps = [line for line in journal.history if "total" in line]
    validated = {line["step"]: line["validation"] for line in journal.history if "validation" in line}
    assert [line["step"] for line in steps] == list(range(1, 21)) and list(validated) == [4, 8, 12, 16, 20]
    assert steps[0] == {"stage": 1, "step": 1, "total": steps[0]["total"], "part": 0.5}
    best = max(validated, key=validated.get)
    assert (trained.position.best, trained.position.best_step) == (validated[best], best)
    assert trained.best["steps"] == best and trained.detector.weights()["steps"] == 20
    assert trained.position.step == 20


def test_without_validation_the_last_step_is_the_best(training_set):
    trained = begin(training_set, validate=None)
    assert trained.best["steps"] == 20 and trained.position.best is None


def test_the_end_is_validated_and_saved_wherever_it_is(training_set, tmp_path):
    journal = Run(tmp_path)
    begin(training_set, dataclasses.replace(RECIPE, steps=5), journal=journal)
    assert [line["step"] for line in journal.history if "validation" in line] == [4, 5]
    assert Run(tmp_path).saved().position.step == 5


def test_of_equal_validations_the_first_is_the_best():
    position = Position()
    for step, value, best, best_step, waited in ((1, 0.5, 0.5, 1, 0), (2, 0.5, 0.5, 1, 1), (3, 0.25, 0.5, 1, 2),
                                                 (4, 0.75, 0.75, 4, 0), (5, 0.75, 0.75, 4, 1), (6, 0.0, 0.75, 4, 2)):
        position = dataclasses.replace(position, step=step).validated(value)
        assert (position.best, position.best_step, position.waited) == (best, best_step, waited)


def test_of_equal_validations_the_weights_of_the_first_are_kept(training_set):
    values = iter([1.0, 2.0, 2.0, 0.5, 2.0])
    trained = begin(training_set, validate=lambda detector: next(values))
    assert (trained.position.best_step, trained.best["steps"]) == (8, 8)


def test_patience(training_set):
    values = iter([1.0, 3.0, 2.0, 2.5, 9.0])
    trained = begin(training_set, options=dataclasses.replace(OPTIONS, patience=2), validate=lambda detector: next(values))
    assert trained.position == Position(0, 16, 3.0, 8, 2) and trained.best["steps"] == 8


def test_training_goes_back_to_the_best_weights_so_far(training_set):
    """After steps 8 and 16, where the best were of 4 and, with 4 + 4 steps behind them, of 12; the momentum goes on."""
    values, seen = iter([5.0, 1.0, 6.0, 2.0, 3.0]), []

    def validate(detector):
        seen.append((int(detector.network["steps"]), float(detector.network["w"])))
        return next(values)

    journal = Journal()
    trained = begin(training_set, dataclasses.replace(RECIPE, reload_best_every=8), journal=journal, validate=validate)
    assert [steps for steps, _ in seen] == [4, 8, 8, 12, 12] and trained.best["steps"] == 8
    momenta = [line["total"] for line in journal.history if "total" in line]
    assert seen[2][1] == pytest.approx(seen[0][1] + sum(momenta[8:12]), rel=1e-6)
    assert seen[4][1] == pytest.approx(seen[2][1] + sum(momenta[16:20]), rel=1e-6)


@pytest.mark.parametrize("after, steps", [(0, [4, 8, 12, 16, 20]), (7, [11, 15, 19, 20]), (8, [12, 16, 20]), (50, [20])])
def test_validations_are_counted_behind_so_many_steps(training_set, after, steps):
    """And there is one at the end of the stage in any case."""
    seen = []
    begin(training_set, dataclasses.replace(RECIPE, evaluate_after=after),
          validate=lambda detector: seen.append(int(detector.network["steps"])) or 1.0)
    assert seen == steps


def test_validations_are_counted_anew_where_training_goes_back():
    """As an epoch of 125 steps, counted from 0, is tested in at steps 10, 20, ..., 120."""
    recipe = dataclasses.replace(RECIPE, reload_best_every=125, evaluate_after=1)
    found = [step for step in range(1, 376) if recipe.validates(step, 10)]
    assert found == [epoch + 1 + step for epoch in (0, 125, 250) for step in range(10, 125, 10)]
    assert [step for step in range(1, 31) if dataclasses.replace(RECIPE, reload_best_every=10).validates(step, 10)] == [10, 20, 30]


def test_without_validation_there_is_nothing_to_go_back_to(training_set):
    assert begin(training_set, dataclasses.replace(RECIPE, reload_best_every=8), validate=None).best["steps"] == 20


@pytest.mark.parametrize("step", [5, 8, 9, 10])
def test_a_stopped_run_goes_back_to_the_best_weights_too(training_set, tmp_path, step):
    recipe = dataclasses.replace(RECIPE, reload_best_every=8)
    begin(training_set, recipe, journal=Run(tmp_path / "whole"))
    FAULTS[step] = stop
    with pytest.raises(Stopped):
        begin(training_set, recipe, journal=Run(tmp_path / "stopped"))
    FAULTS.clear()
    begin(training_set, recipe, journal=Run(tmp_path / "stopped"))
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


def test_a_stage_starts_from_the_best_of_the_one_before(training_set):
    values = iter([1.0, 5.0, 2.0, 1.0, 1.0] + [0.0, 1.0, 2.0, 3.0, 4.0])
    weights = []
    trained = begin(training_set, stages=2, validate=lambda detector: weights.append(detector.weights()) or next(values))
    assert trained.position.stage == 1 and trained.position.best == 4.0
    assert weights[5]["steps"] == weights[1]["steps"] + 4 and weights[5]["w"] > 10 * weights[1]["w"]


def test_the_seed_decides_all(training_set):
    ends = [float(begin(training_set, options=dataclasses.replace(OPTIONS, seed=seed)).detector.weights()["w"])
            for seed in (3, 3, 4)]
    assert ends[0] == ends[1] != ends[2]


def files(folder):
    """What they hold; the order of a safetensors file's metadata is any."""
    found = {name: safetensors.read(folder / name) for name in (BEST, LAST, STATE)}
    return {name: (file.tensors, file.metadata) for name, file in found.items()} | {HISTORY: (folder / HISTORY).read_text()}


@pytest.mark.parametrize("stages", [1, 2])
def test_a_run_stopped_at_any_step_ends_like_one_left_alone(training_set, tmp_path, stages):
    begin(training_set, stages=stages, journal=Run(tmp_path / "whole"))
    whole = files(tmp_path / "whole")
    for step in range(1, 21):
        folder = tmp_path / f"stopped{step}"
        FAULTS[step] = stop
        with pytest.raises(Stopped):
            begin(training_set, stages=stages, journal=Run(folder))
        with open(folder / HISTORY, "a") as file:
            file.write('{"stage": 1, "st')  # what a kill may leave
        FAULTS.clear()
        begin(training_set, stages=stages, journal=Run(folder))
        assert files(folder) == whole, step


def contents(folder):
    """All there is in a folder, and when it was changed."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def killed(training_set, folder, step=11, garbage='{"stage": 1, "st'):
    """A run that was stopped at a step, with what a kill may leave behind it."""
    FAULTS[step] = stop
    with pytest.raises(Stopped):
        begin(training_set, journal=Run(folder))
    FAULTS.clear()
    with open(folder / HISTORY, "a") as file:
        file.write(garbage)


def test_opening_changes_nothing_and_going_on_cuts_the_history_at_the_first_line(training_set, tmp_path):
    killed(training_set, tmp_path)
    before = contents(tmp_path)
    journal = Run(tmp_path)
    assert journal.saved().position.step == 9
    assert contents(tmp_path) == before and any("tfevents" in path for path in before)
    journal.record({"stage": 1, "step": 10, "total": 0.0})
    steps = [json.loads(line).get("step") for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10]


def test_a_process_that_does_not_write_leaves_the_folder_alone(training_set, tmp_path):
    killed(training_set, tmp_path)
    before = contents(tmp_path)
    begin(training_set, journal=Run(tmp_path, writes=False))
    assert contents(tmp_path) == before


def test_best_weights_that_a_killed_run_wrote_behind_its_save_are_not_taken(training_set, tmp_path):
    """What comes after the save may be another thing the second time, where a device computes another sum."""
    killed(training_set, tmp_path)
    later = wv.Detector("bn-wvad", SimpleNamespace(as_dict=dict), "toy", SimpleNamespace(weights=dict),
                        {"w": np.float32(1e9), "steps": np.int64(12)})
    later.save(tmp_path / BEST)
    trained = begin(training_set, journal=Run(tmp_path), validate=lambda detector: -1e9)
    assert trained.best["steps"] == safetensors.read(tmp_path / BEST).tensors["steps"] == trained.position.best_step <= 8


def test_best_weights_that_are_gone_are_written_anew(training_set, tmp_path):
    trained = begin(training_set, journal=Run(tmp_path))
    whole = files(tmp_path)
    (tmp_path / BEST).unlink()
    journal = Run(tmp_path)
    journal.close(trained.detector)
    assert files(tmp_path) == whole


def test_resuming_loses_no_more_than_the_steps_since_the_last_save(training_set, tmp_path):
    FAULTS[11] = stop
    with pytest.raises(Stopped):
        begin(training_set, journal=Run(tmp_path))
    assert Run(tmp_path).saved().position.step == 9
    assert [line["step"] for line in Run(tmp_path).history if "total" in line] == list(range(1, 10))


def test_a_finished_run_is_resumed_without_a_step(training_set, tmp_path):
    first = begin(training_set, journal=Run(tmp_path))
    whole = files(tmp_path)
    FAULTS[21] = stop
    again = begin(training_set, journal=Run(tmp_path))
    assert files(tmp_path) == whole and again.position == first.position
    assert again.best == {name: value for name, value in first.best.items()}


def test_a_loss_that_is_not_finite(training_set, tmp_path):
    FAULTS["part"] = {8: float("nan")}
    message = r"the loss of step 8 is not finite \(part = nan\).*; the batch's videos: v\d, v\d, v\d, v\d"
    with pytest.raises(Failure, match=message):
        begin(training_set, journal=Run(tmp_path))
    assert safetensors.read(tmp_path / LAST).tensors["steps"] == 6


def test_a_validation_that_is_no_number(training_set):
    with pytest.raises(Failure, match="validation gave nan after step 4, expected a number"):
        begin(training_set, validate=lambda detector: float("nan"))


def test_weights_that_are_not_finite_are_not_saved(training_set, tmp_path):
    def spoil(trainer):
        trainer.network["w"] = np.float32("inf")

    FAULTS[9] = spoil
    with pytest.raises(Failure, match="is not finite"):
        begin(training_set, journal=Run(tmp_path))
    assert np.isfinite(safetensors.read(tmp_path / LAST).tensors["w"])


def test_a_full_disk_keeps_what_was_saved(training_set, tmp_path, monkeypatch):
    whole, saved = safetensors.save_file, []

    def fill_up(tensors, path, metadata):
        saved.append(path)
        if len(saved) > 9:
            raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")
        whole(tensors, path, metadata)

    monkeypatch.setattr(safetensors, "save_file", fill_up)
    with pytest.raises(Failure, match=r"cannot be written \(No space left on device\)"):
        begin(training_set, journal=Run(tmp_path))
    monkeypatch.undo()
    assert Run(tmp_path).saved().position.step > 0
    assert {p.name for p in tmp_path.iterdir() if "tfevents" not in p.name} == {BEST, LAST, STATE, HISTORY, LOCK}


def test_a_state_that_was_altered(training_set, tmp_path):
    begin(training_set, journal=Run(tmp_path))
    state = safetensors.read(tmp_path / STATE)
    safetensors.write(tmp_path / STATE, dataclasses.replace(
        state, tensors={name: value + 1 for name, value in state.tensors.items()}))
    with pytest.raises(InputError, match=f"{STATE}: not a state that this library has written, or altered since"):
        Run(tmp_path)


def test_a_history_that_was_cut(training_set, tmp_path):
    begin(training_set, journal=Run(tmp_path))
    (tmp_path / HISTORY).write_text(json.dumps({"stage": 1}) + "\n")
    with pytest.raises(InputError, match=f"{HISTORY}: has 13 bytes, expected the"):
        Run(tmp_path)
