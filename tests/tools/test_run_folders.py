"""Run folders that were damaged, crafted, linked, moved or locked: one line, exit status 2, and every file as it was.

The state's hash is no secret: what is crafted here has a right one, as a file of an older or a wicked program may have.
"""
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
import train as tool
from test_train import ends, everything, same_run, videos, words  # noqa: F401, a fixture

import wvad_core as wv
from wvad_core.checkpoints.contents import describe
from wvad_core.checkpoints.formats import safetensors
from wvad_core.cli import process
from wvad_core.cli import train as command
from wvad_core.data import TrainingSet
from wvad_core.training import experiment, run_folder, saved_state
from wvad_core.training.run_files import BEST, CURVES, HISTORY, LAST, LOCK, PLAN, REPORT, STATE, locked

pytestmark = pytest.mark.needs("torch")
GIVEN = ("evaluate_every=1",)


def rewritten(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def with_recipe(folder, **values):
    rewritten(folder / "recipe.json", recipe=json.loads((folder / "recipe.json").read_text())["recipe"] | values)


def of_another_run(folder, name, *more):
    with pytest.raises(SystemExit):
        process.run(tool.main, words(*more, output="other"))
    shutil.copy(folder.parent / "other" / name, folder / name)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """own.csv, features/ and run/, a run that was stopped in its fourth step, saved after the second; and whole/, one left alone."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patched:
        videos.__wrapped__(folder, patched)()

        def stop(self, line, record=run_folder.Run.record):
            if line["step"] == 4:
                raise KeyboardInterrupt
            record(self, line)

        for output in ("whole", "run"):
            with pytest.raises(SystemExit):
                process.run(tool.main, words(*GIVEN, output=output))
            patched.setattr(run_folder.Run, "record", stop)
    return folder


@pytest.fixture
def run(world, tmp_path, monkeypatch):
    """A copy of it all; the run's data are the world's, which are cached."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WVAD_CACHE", str(world / "cache"))
    return tmp_path / "run"


@pytest.fixture
def own(run):
    """The same with data of its own."""
    rewritten(run / PLAN, dataset=str(run.parent / "own.csv"), features=str(run.parent / "features"))
    return run


def refused(argv, capsys, run):
    """The one line with which a command ends with status 2, all files being as before."""
    before = everything(run.parent)
    with pytest.raises(SystemExit) as end:
        process.run(tool.main, argv)
    printed = capsys.readouterr().err
    assert end.value.code == 2 and printed.startswith("error: ") and len(printed.splitlines()) == 1, printed
    assert everything(run.parent) == before
    return printed


def crafted(**changes):
    """A state with other values, {field: function of the old value}, and a right hash."""
    def spoil(run):
        state = saved_state.read(run / STATE)
        saved_state.write(run / STATE, dataclasses.replace(state, **{
            name: change(getattr(state, name)) for name, change in changes.items()}))
    return spoil


def tensor(part, name, change):
    """A state in which the first tensor of a part whose name begins so is another one, or gone."""
    def changed(tensors):
        first = next(key for key in tensors if key.startswith(name))
        value = change(tensors[first])
        return {key: old for key, old in tensors.items() if key != first} | ({} if value is None else {first: value})
    return crafted(**{part: changed})


def with_first(value):
    def change(array):
        array = np.array(array)
        array[(0,) * array.ndim] = value
        return array
    return change


def with_history(change):
    """Another history, of which the state knows."""
    def spoil(run):
        text = change((run / HISTORY).read_bytes()[:saved_state.read(run / STATE).size])
        (run / HISTORY).write_bytes(text)
        crafted(size=lambda _: len(text), sha256=lambda _: hashlib.sha256(text).hexdigest())(run)
    return spoil


def without(name, spoil):
    """The same where a file is gone that says first that these are not its weights."""
    return lambda run: (run / name).unlink() or spoil(run)


def position(**changes):
    return crafted(position=lambda old: old | changes)


def of_plan(**changes):
    return lambda run: rewritten(run / PLAN, **changes)


def of(part, **changes):
    return lambda run: rewritten(run / PLAN, **{part: json.loads((run / PLAN).read_text())[part] | changes})


def bit_flip(name, place=-100):
    def spoil(run):
        data = bytearray((run / name).read_bytes())
        data[place] ^= 1
        (run / name).write_bytes(data)
    return spoil


def old_format(run):
    state = safetensors.read(run / STATE)
    metadata = {key: state.metadata[key] for key in ("plan", "position", "history", "sha256")}
    safetensors.write(run / STATE, dataclasses.replace(state, metadata=metadata))


def stale(key, value):
    """A state with other metadata, and the hash that it had."""
    def spoil(run):
        state = safetensors.read(run / STATE)
        safetensors.write(run / STATE, dataclasses.replace(state, metadata=state.metadata | {key: value}))
    return spoil


NESTED = b"[" * 10**5 + b"]" * 10**5
CRAFTED = {
    "moment of another shape": (tensor("trainer", "moment1.", lambda m: m[..., None]), "bias is float32 (16, 1), expected float32 (16,)"),
    "moment of one number": (tensor("trainer", "moment2.", lambda m: np.float32(0)), "expected float32"),
    "moment of another dtype": (tensor("trainer", "moment1.", lambda m: m.astype(np.float64)), "is float64 (16,), expected float32"),
    "moment not finite": (tensor("trainer", "moment1.", with_first(np.nan)), "has values that are not finite"),
    "second moment below 0": (tensor("trainer", "moment2.", with_first(-1)), "has values below 0"),
    "moment missing": (tensor("trainer", "moment2.", lambda m: None), "has no moment2."),
    "moment of what is no parameter": (crafted(trainer=lambda t: t | {"moment1.nothing": np.zeros(3)}), "unexpected moment1.nothing"),
    "memory of a method without": (crafted(trainer=lambda t: t | {"memory.steps": np.array(1)}), "steps of a memory, expected none"),
    "counter below 0": (tensor("trainer", "updates.", lambda u: -u), "expected a whole number from 0"),
    "counter of other steps": (tensor("trainer", "updates.", lambda u: u + 1), "is 3, expected 2 after 2 steps"),
    "counter of text": (tensor("trainer", "updates.", lambda u: np.array([1, 2])), "expected a whole number from 0"),
    "steps of 10^9": (tensor("trainer", "steps", lambda u: np.array(10**9)), "expected 1000000000 after 1000000000 steps"),
    "steps not whole": (tensor("trainer", "steps", lambda u: np.array(2.0)), "expected a whole number from 0"),
    "no steps": (tensor("trainer", "steps", lambda u: None), "has no steps"),
    "weight of another shape": (without(LAST, tensor("weights", "", lambda w: w[..., None])), "expected (16,)"),
    "weight of another dtype": (tensor("weights", "", lambda w: w.astype(np.float16)), "is float16"),
    "weight missing": (without(LAST, tensor("weights", "", lambda w: None)), "missing tensor"),
    "weight too many": (without(LAST, crafted(weights=lambda w: w | {"more": np.zeros(2, np.float32)})), "unexpected tensor more (2,)"),
    "weight not finite": (tensor("weights", "embedding", with_first(np.inf)), "has values that are not finite"),
    "best weight of another shape": (tensor("best", "", lambda w: w[..., None]), ""),
    "no best weights": (crafted(best=lambda w: {}), f"{STATE}, best weights: missing tensor"),
    "step of 10^9": (position(step=10**9), "its position {'stage': 0, 'step': 1000000000"),
    "step without its history": (position(step=3), "is not the one that its history leads to"),
    "another best": (position(best=0.99), "is not the one that its history leads to"),
    "another best step": (position(best_step=7), "is not the one that its history leads to"),
    "stage of no method": (position(stage=5), "is not the one that its history leads to"),
    "stage of text": (position(stage="x"), "stage x, expected a whole number from 0"),
    "position with more": (position(more=1), "is not the one that its history leads to"),
    "position a list": (crafted(position=lambda _: []), "its plan, data, position or history is not what training writes"),
    "position nested": (position(step=json.loads("[" * 40 + "]" * 40)), "position: nested more than 32 levels deep"),
    "history of no bytes": (crafted(size=lambda _: -1), "is not what training writes"),
    "history of more bytes": (crafted(size=lambda _: 2**62), f"expected the {2**62} that"),
    "history line no object": (with_history(lambda text: text + b"3\n"), f"{HISTORY}, line 5: not what training writes"),
    "history line without step": (with_history(lambda text: text + b'{"stage": 1}\n'), f"{HISTORY}, line 5: not what training writes"),
    "history line of text": (with_history(lambda text: text + b'{"stage": 1, "step": 3, "total": "a"}\n'), "line 5: not what"),
    "history line nested": (with_history(lambda text: text + NESTED + b"\n"), f"{HISTORY}, line 5: not JSON"),
    "history line of 5000 digits": (with_history(lambda text: text + b'{"stage": ' + b"1" * 5000 + b"}\n"), "line 5: not JSON"),
    "history line junk": (with_history(lambda text: text + b"\xff\xfe\n"), f"{HISTORY}, line 5: not JSON"),
    "history with a step left out": (with_history(lambda text: text + b'{"stage": 1, "step": 4, "total": 1.0}\n'), "step 4, expected 3"),
    "history of a later stage": (with_history(lambda text: text + b'{"stage": 2, "step": 1, "total": 1.0}\n'), "before stage 2"),
    "random state junk": (crafted(random=lambda _: ("junk",)), "the random state of bn-wvad's training cannot be gone on from"),
    "random state of a wrong size": (crafted(random=lambda _: ('{"seed": 1, "states": {"cpu": "00ff"}}',)), "the random state of"),
    "random state of no device": (crafted(random=lambda _: ('{"seed": 1, "states": {"abacus": ""}}',)), "the random state of"),
    "random state nested": (crafted(random=lambda _: ("[" * 10**5,)), "the random state of bn-wvad's training cannot"),
    "plan of another learning rate": (crafted(plan=lambda p: p | {"recipe": p["recipe"] | {"learning_rate": 0.5}}),
                                      "the state of another run, its recipe.learning_rate is 0.5"),
    "another format": (old_format, f"{STATE}: a state in format 1, expected 2; another version of wvad wrote it"),
    "bit of the state": (bit_flip(STATE), "not a state that this library has written, or altered since"),
    "bit of the metadata": (bit_flip(STATE, 30), STATE),
    "other digests of data": (stale("data", "{}"), f"{STATE}: not a state that this library has written, or altered since"),
    "another position": (stale("position", "{}"), f"{STATE}: not a state that this library has written, or altered since"),
    "bit of best": (bit_flip(BEST), f"{BEST}: metadata and tensors do not have the hash"),
    "bit of last": (bit_flip(LAST), f"{LAST}: metadata and tensors do not have the hash"),
    "last no checkpoint": (lambda run: (run / LAST).write_bytes(b"x" * 100), f"{LAST}: not a whole safetensors file"),
    "last of other shapes": (lambda run: safetensors.write(run / LAST, describe({"a": np.zeros(2)}, "bn-wvad", {})),
                             f"{LAST}: not the weights of this run"),
    "recipe nested": (lambda run: (run / PLAN).write_bytes(NESTED), f"{PLAN}: not JSON"),
    "recipe value nested": (of_plan(overrides=json.loads("[" * 40 + "]" * 40)), f"{PLAN}: nested more than 32 levels deep"),
    "recipe of 5000 digits": (lambda run: (run / PLAN).write_text('{"method": ' + "1" * 5000 + "}"), f"{PLAN}: not JSON"),
    "recipe not UTF-8": (lambda run: (run / PLAN).write_bytes(b"\xff{}"), f"{PLAN}: not JSON"),
    "recipe with infinity": (lambda run: (run / PLAN).write_text((run / PLAN).read_text().replace('"eps": 1e-08', '"eps": 1e999')),
                             "setting eps: expected a positive number"),
    "recipe of another rate": (of("recipe", learning_rate=0.5), "its recipe.learning_rate is 0.0001, that of this one 0.5"),
    "recipe of huge steps": (of("recipe", steps=10**400), "setting steps: expected a positive whole number"),
    "recipe of another seed": (of("options", seed=5), "its options.seed is 2022, that of this one 5"),
    "recipe of another backend": (of_plan(backend="mindspore"), "its backend is 'torch', that of this one 'mindspore'"),
    "recipe of no backend": (of_plan(backend="jax"), "unknown backend 'jax'"),
    "overrides a list": (of_plan(overrides=[1]), f"{PLAN}: not what a training run writes"),
    "companions a list": (of_plan(companions=["a"]), f"{PLAN}: not what a training run writes"),
    "a null in a path": (of_plan(features="a\0b"), f"{PLAN}: not what a training run writes"),
    "initial a number": (of_plan(initial=3), f"{PLAN}: not what a training run writes"),
    "device a list": (of_plan(device=["cpu"]), f"{PLAN}: not what a training run writes"),
    "a folder for the history": (lambda run: (run / HISTORY).unlink() or (run / HISTORY).mkdir(), f"{HISTORY}: something else"),
    "a folder for the state": (lambda run: (run / STATE).unlink() or (run / STATE).mkdir(), f"{STATE}: something else"),
    "a file for a report": (lambda run: (run / "best").touch(), "run/best: something else, expected a folder or none"),
}


SPOILED = {
    "no state": (lambda run: (run / STATE).unlink(), "run: has no state.safetensors to go on from"),
    "state cut": (lambda run: (run / STATE).write_bytes((run / STATE).read_bytes()[:-8]), STATE),
    "state no state": (lambda run: shutil.copy(run / BEST, run / STATE), "not a state that this library has written"),
    "state of another run": (lambda run: of_another_run(run, STATE, "channels=32"),
                             "the state of another run, its recipe.settings.channels is 32, that of this one 16"),
    "state of other steps": (lambda run: of_another_run(run, STATE, "evaluate_every=1", "steps=3"),
                             "the state of another run, its recipe.steps is 3, that of this one 6"),
    "no recipe": (lambda run: (run / "recipe.json").unlink(), "recipe.json: cannot be read"),
    "recipe cut": (lambda run: (run / "recipe.json").write_text("{"), "recipe.json: not JSON"),
    "recipe a list": (lambda run: (run / "recipe.json").write_text("[]"), "recipe.json: not what a training run writes"),
    "recipe a number": (lambda run: rewritten(run / "recipe.json", recipe=3), "recipe.json: not what a training run writes"),
    "recipe of no method": (lambda run: rewritten(run / "recipe.json", method="bn"), "recipe.json: not what"),
    "recipe with a number for a name": (lambda run: rewritten(run / "recipe.json", features=3), "recipe.json: not what"),
    "recipe out of range": (lambda run: with_recipe(run, steps=0), "recipe.json: not what a training run writes (setting steps"),
    "recipe of another run": (lambda run: with_recipe(run, steps=9),
                              f"{STATE}: the state of another run, its recipe.steps is 6, that of this one 9"),
    "history cut": (lambda run: (run / HISTORY).write_text(""), f"{HISTORY}: has 0 bytes, expected the"),
    "history altered": (lambda run: (run / HISTORY).write_text((run / HISTORY).read_text().replace("1", "2")),
                        f"{HISTORY}: not the history that {STATE} was written with"),
    "best cut": (lambda run: (run / BEST).write_bytes(b"{"), f"{BEST}: not a whole safetensors file"),
    "best of another run": (lambda run: of_another_run(run, BEST, "channels=32"),
                            f"{BEST}: not the weights of this run; without that file, --resume writes it anew")}


@pytest.mark.parametrize("spoil, message", (SPOILED | CRAFTED).values(), ids=SPOILED | CRAFTED)
def test_what_is_crafted_or_damaged_is_refused_before_anything_is_written(run, capsys, spoil, message):
    spoil(run)
    capsys.readouterr()
    assert message in refused(["--resume", "run"], capsys, run)


def test_nothing_of_these_runs_is_wrong_but_what_was_done_to_them(run, capsys):
    ends(0, ["--resume", "run"], capsys)
    same_run(run, run.parent / "whole")


@pytest.mark.parametrize("name", [HISTORY, STATE, BEST, LAST, PLAN, REPORT, CURVES, LOCK, "best", "last"])
@pytest.mark.parametrize("dangling", [True, False])
def test_nothing_is_written_through_a_link(run, capsys, name, dangling):
    outside = run.parent / "outside" / name
    outside.parent.mkdir()
    if not dangling:
        shutil.move(run / name, outside) if (run / name).exists() else outside.mkdir() if name in ("best", "last") else outside.touch()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    assert "a link, expected a" in refused(["--resume", "run"], capsys, run)
    assert "a link, expected a" in str(pytest.raises(wv.InputError, run_folder.Run, run).value)


def test_a_link_planted_during_the_run_is_not_followed(run, capsys, monkeypatch):
    outside = run.parent / "outside"
    outside.write_text("mine")

    def record(self, line, whole=run_folder.Run.record):
        whole(self, line)
        (run / HISTORY).unlink()
        (run / HISTORY).symlink_to(outside)

    monkeypatch.setattr(run_folder.Run, "record", record)
    assert "history.jsonl: cannot be written" in ends(2, ["--resume", "run"], capsys)
    assert outside.read_text() == "mine"


def test_the_folder_itself_may_be_a_link(run, capsys):
    run.rename(run.parent / "elsewhere")
    run.symlink_to(run.parent / "elsewhere")
    ends(0, ["--resume", "run"], capsys)
    same_run(run.parent / "elsewhere", run.parent / "whole")


def other_values(names):
    def change(world):
        for file in (world / "features").glob(names):
            np.save(file, np.load(file)[::-1])
    return change


def swapped(world):
    (world / "own.csv").write_text((world / "own.csv").read_text().replace("Riot02,train,Riot", "Riot02,train,Normal")
                                   .replace("Normal03,train,Normal", "Normal03,train,Riot"))


@pytest.mark.parametrize("change, message", [
    (other_values("Riot01*"), "features: the features of the training videos are not what run was trained with until now"),
    (other_values("Normal11*"), "features: the features of the test videos are not what run was trained with until now"),
    (swapped, "own.csv: what the table says of the videos is not what run was trained with until now")])
def test_a_run_goes_on_with_the_data_that_it_began_with(own, capsys, change, message):
    change(own.parent)
    assert message in refused(["--resume", "run"], capsys, own)


def test_the_data_may_lie_elsewhere_and_be_a_copy(own, capsys):
    """Of other names and times; from then on recipe.json has the new place, absolute."""
    run, world = own, own.parent
    (world / "new").mkdir()
    shutil.move(world / "own.csv", world / "new" / "table.csv")
    for file in (world / "features").iterdir():
        (world / "new" / f"{file.stem}.npy").write_bytes(file.read_bytes())
        os.utime(world / "new" / f"{file.stem}.npy", (1, 1))
    shutil.rmtree(world / "features")
    assert "own.csv: no such file" in refused(["--resume", "run"], capsys, run)
    ends(0, ["--resume", "run", "--dataset", "new/table.csv", "--features", "new"], capsys)
    assert (run / HISTORY).read_bytes() == (world / "whole" / HISTORY).read_bytes()
    plan = json.loads((run / PLAN).read_text())
    assert (plan["dataset"], plan["features"]) == (str(world / "new" / "table.csv"), str(world / "new"))
    os.chdir(world / "new")
    ends(0, ["--resume", "../run"], capsys)


@pytest.mark.parametrize("more, message", [
    (["--backend", "mindspore"], "run: was begun on backend torch, not mindspore; expected the same"),
    (["--recipe", "demo"], "it takes no method, no seeds, no recipe")])
def test_what_is_given_beside_a_run_that_goes_on_is_not_passed_over(run, capsys, more, message):
    assert message in refused(["--resume", "run", *more], capsys, run)
    ends(0, ["--resume", "run", "--backend", "torch"], capsys)


def test_paths_are_absolute_in_what_is_written(world):
    for plan in (json.loads((world / "whole" / PLAN).read_text()), saved_state.read(world / "whole" / STATE).plan):
        assert (plan["dataset"], plan["features"]) == (str(world / "own.csv"), str(world / "features"))


@pytest.mark.parametrize("phase", ["features", "steps", "report", "curves"])
def test_the_lock_is_held_for_the_whole_run(run, capsys, monkeypatch, phase):
    """From before the features are read to after the curves are drawn; for a new run and for one that goes on."""
    module, name = {"features": (experiment, "read_training_set"), "steps": (run_folder.Run, "record"),
                    "report": (experiment, "save_reports"), "curves": (command, "draw")}[phase]
    seen, output = [], {"features": "new"}.get(phase, "run")

    def during(*given, whole=getattr(module, name)):
        if not seen:
            seen.append(output)
            before = everything(run.parent)
            for argv in (["--resume", "run"], words("--output", "run")) if output == "run" else (words("--output", "new"),):
                with pytest.raises(SystemExit) as end:
                    process.run(tool.main, argv)
                seen.append((end.value.code, capsys.readouterr().err))
            assert everything(run.parent) == before
        return whole(*given)

    monkeypatch.setattr(module, name, during)
    ends(0, ["--resume", "run"] if output == "run" else words("--output", "new"), capsys)
    assert len(seen) > 1 and seen[1] == (2, f"error: {output}: another process trains in it, expected one at a time\n")
    assert all(status == 2 for status, _ in seen[1:])


def test_weights_that_are_gone_are_written_anew_by_who_has_the_lock(run, capsys):
    ends(0, ["--resume", "run"], capsys)
    gone = {name: (run / name).read_bytes() for name in (BEST, LAST)}
    for name in gone:
        (run / name).unlink()
    lock = locked(run)
    assert "another process trains in it" in refused(["--resume", "run"], capsys, run)
    lock.release()
    ends(0, ["--resume", "run"], capsys)
    for name, data in gone.items():
        (run.parent / name).write_bytes(data)
        assert {n: v.tobytes() for n, v in safetensors.read(run.parent / name).tensors.items()} == {
            n: v.tobytes() for n, v in safetensors.read(run / name).tensors.items()}


def test_a_new_run_that_is_refused_after_it_has_the_lock_leaves_nothing(run, capsys):
    file = run.parent / "features" / "Riot01__0.npy"
    np.save(file, np.full_like(np.load(file), np.nan))
    for _ in range(2):
        ends(2, words(*GIVEN, output="runs/new"), capsys)
        assert not (run.parent / "runs").exists()


def test_a_folder_that_has_but_a_lock_is_begun_in(run, capsys):
    """What a process leaves that is killed before it has read its features."""
    (run.parent / "new").mkdir()
    (run.parent / "new" / LOCK).touch()
    ends(0, words(*GIVEN, output="new"), capsys)
    same_run(run.parent / "new", run.parent / "whole")


def test_temporary_files_of_killed_runs_are_removed_and_no_others(run, capsys):
    for name in ("best", "last"):
        (run / name).mkdir()
    ours = [".state-abcd_123.safetensors", ".best-00000000.safetensors", ".recipe-zzzzzzzz.json", ".curves-0a0a0a0a.png",
            "best/.scores-abcdefgh.npz", "last/.report-abcdefgh.json"]
    others = [".state-abc.safetensors", ".mine-abcd1234.json", "notes.txt", ".state-abcd1234.pt", "best/.scores-abcdefgh.npy"]
    for name in ours + others:
        (run / name).write_text("left")
    (run / ".last-link0000.safetensors").symlink_to(run / "notes.txt")
    ends(0, ["--resume", "run"], capsys)
    assert not [name for name in ours if (run / name).exists()]
    assert all((run / name).read_text() == "left" for name in others) and (run / ".last-link0000.safetensors").is_symlink()


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sometimes(whole, times, fails=no_space):
    """A function that fails after so many calls."""
    count = iter(range(10**6))
    return lambda *given, **named: fails() if next(count) >= times else whole(*given, **named)


FULL = {"a file": (os, "replace", 3), "the last file": (os, "replace", 7), "the history": (run_folder, "no_link", 2),
        "the events": (None, "write_event", 4), "the events' end": (None, "close", 0), "the reports": (np, "savez", 1)}


@pytest.mark.parametrize("where, name, times", FULL.values(), ids=FULL)
def test_a_full_disk_ends_a_run_with_status_1_and_one_line(run, capsys, monkeypatch, where, name, times):
    from tensorboardX.event_file_writer import EventsWriter

    where = where or EventsWriter
    with monkeypatch.context() as patched:
        patched.setattr(where, name, sometimes(getattr(where, name), times))
        with pytest.raises(SystemExit) as end:
            process.run(tool.main, ["--resume", "run"])
        printed = capsys.readouterr().err
        assert end.value.code == 1 and printed.startswith("error: ") and len(printed.splitlines()) == 1, printed
        assert "No space left on device" in printed
    ends(0, ["--resume", "run"], capsys)
    same_run(run, run.parent / "whole")


@pytest.mark.parametrize("size", [300, 3000, 20000])
def test_a_disk_that_truly_takes_no_more(run, capsys, size):
    """A limit of the system on the size of files stands for the end of a disk: its writes fail as those do."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(SystemExit) as end:
            process.run(tool.main, ["--resume", "run"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    printed = capsys.readouterr().err
    assert end.value.code == 1 and printed.startswith("error: ") and len(printed.splitlines()) == 1, printed
    assert "cannot be written (File too large)" in printed
    ends(0, ["--resume", "run"], capsys)
    same_run(run, run.parent / "whole")


@pytest.mark.parametrize("how", ["removed", "read-only"])
def test_a_folder_that_is_taken_away_during_the_run_is_one_line(run, capsys, monkeypatch, how):
    def record(self, line, whole=run_folder.Run.record):
        whole(self, line)
        if line["step"] == 4:
            if how == "removed":
                shutil.rmtree(run)
            else:  # whoever tests as root may write everywhere
                monkeypatch.setattr(run_folder, "no_link", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))

    monkeypatch.setattr(run_folder.Run, "record", record)
    assert "run/history.jsonl: cannot be written (" in ends(2, ["--resume", "run"], capsys)


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step, times", [(3, 1), (4, 1), (5, 2), (6, 1)])
def test_sigterm_saves_and_the_run_goes_on_as_one_left_alone(run, capsys, monkeypatch, step, times):
    """A second signal while it saves does no harm. In step 4 and 6 it would have saved anyway."""
    def record(self, line, whole=run_folder.Run.record):
        whole(self, line)
        if line["step"] == step and "total" in line:
            sigterm()
            if times > 1:
                patched.setattr(saved_state, "write", lambda *given, whole=saved_state.write: sigterm() or whole(*given))

    with monkeypatch.context() as patched:
        patched.setattr(run_folder.Run, "record", record)
        with pytest.raises(SystemExit) as end:
            process.run(tool.main, ["--resume", "run"])
    assert (end.value.code, capsys.readouterr().err) == (
        143, f"error: training bn-wvad: told to end, after step {step}; all is saved\n")
    assert saved_state.read(run / STATE).position["step"] == step
    assert not (run / REPORT).exists()
    ends(0, ["--resume", "run"], capsys)
    same_run(run, run.parent / "whole")


def test_sigterm_before_the_first_step_ends_at_once(run, capsys, monkeypatch):
    monkeypatch.setattr(TrainingSet, "contradictions", lambda self: sigterm())
    before = {name: values for name, values in everything(run).items() if not name.endswith("run")}
    with pytest.raises(SystemExit) as end:
        process.run(tool.main, ["--resume", "run"])
    assert end.value.code == 143 and capsys.readouterr().err == ""
    assert everything(run).items() >= before.items()
