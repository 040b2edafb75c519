"""The library leaves its caller's state as it found it, and computes the same whatever that is; looking at a network
leaves it as it is."""
import contextlib
import json
import operator
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import caller_state
import numpy as np
import parallel_worker
import pytest
from bf16 import bf16_or_refusal

import native
import wvad_core as wv
from cases import CONFIGS, NETWORKS, batch, detector, video
from compare import OUTPUT, TRAINED, assert_all_close
from wvad_core.registry import memory_state
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

TESTS = Path(__file__).parent.parent
OF_EACH_KIND = ("adplg", "ar-net", "bn-wvad", "ur-dmu")
"""Methods with a memory, dropout, running statistics, noise."""
RECIPE = Recipe(segments=20, videos=3, steps=3, learning_rate=1e-3)


def script(*words: object) -> str:
    """What a script of the tests' folder prints, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "parity")])}
    done = subprocess.run([sys.executable, *map(str, words)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_callers_state_stays_as_it_was(backend):
    found = json.loads(script(TESTS / "caller_state.py", backend).splitlines()[-1])
    assert len(found) > 20 and not {step: names for step, names in found.items() if names}


@pytest.mark.needs("torch")
@pytest.mark.parametrize("size", (pytest.param(1, marks=pytest.mark.slow), 2))
def test_a_group_of_the_callers_own_is_joined_only_on_request(size, tmp_path):
    """Training and evaluation in one of its processes are those of a process alone, which wait for no other."""
    parallel_worker.dataset(tmp_path)
    with ThreadPoolExecutor(size) as pool:
        list(pool.map(lambda rank: script(TESTS / "parity" / "own_group.py", rank, size, tmp_path), range(size)))
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(size)]
    alone = parallel_worker.train(parallel_worker.SAME, CONFIGS[parallel_worker.SAME][0], "torch")
    assert found[0]["processes"] == [0, 1] and found[0]["terms"] == alone["terms"]
    weights = np.load(tmp_path / "alone.npz")
    assert all(np.array_equal(weights[name], value) for name, value in alone["weights"].items())
    assert found[0]["metrics"] == parallel_worker.evaluate("torch", parallel_worker.dataset(tmp_path))["metrics"]
    for rank, after in enumerate(found):
        assert after["joined"] == after["then"] == [rank, size]
        assert after["gathered"] == [[float(other)] * (other + 1) for other in range(size)]


def test_a_change_of_the_state_is_seen():
    before = caller_state.snapshot()
    assert not caller_state.changed(before, caller_state.snapshot())
    np.random.random()
    assert caller_state.changed(before, caller_state.snapshot()) == ["numpy.random"]
    np.random.set_state(before["numpy.random"])
    assert not caller_state.changed(before, caller_state.snapshot())


def move(made: wv.Detector, trainer, given: wv.Batch) -> dict:
    """One step of training, as far as the backend takes it: with dropout, noise, running statistics and memory."""
    return trainer.step(given) if trainer else {n: float(v) for n, v in made.network.losses(given).items()}


@pytest.mark.parametrize("method, config", {method: (method, config) for method, config in NETWORKS}.values())
def test_looking_at_a_network_leaves_it_as_it_is(method, config, backend, request):
    """Training with and without losses, gradients and scores in between is the same.

    Without --slow, on MindSpore, of methods with each of what networks have of their own; PyTorch shows the others.
    Not bit for bit: MindSpore rounds in another way when its arrays lie elsewhere in memory. Other dropout, or statistics
    that moved once more, are farther away by orders.
    """
    if backend == "mindspore" and method not in OF_EACH_KIND and not request.config.getoption("--slow"):
        pytest.skip("--slow runs it")
    histories, weights = [], []
    for looked_at in (False, True):
        made = detector(method, config, backend)
        trainer = None if backend == "numpy" else Trainer(made, RECIPE)
        history = []
        for step in range(2):
            given = batch(method, config, 20, seed=step)
            if looked_at:
                look(made, given, video(method, config, 20))
            history.append(move(made, trainer, given))
        histories.append(history)
        weights.append(made.weights() | memory_state(made.network.memory))
    for ours, theirs in zip(*histories, strict=True):
        assert ours == pytest.approx(theirs, rel=OUTPUT, abs=1e-7)
    assert_all_close(weights[0], weights[1], TRAINED)


def look(made: wv.Detector, given: wv.Batch, features: np.ndarray) -> None:
    modes, before = native.modes(made.network), made.weights() | memory_state(made.network.memory)
    for deterministic in (False, True):
        found = made.losses(given, deterministic)
        assert found == pytest.approx(made.losses(given, deterministic), rel=OUTPUT, abs=1e-7)
        if made.backend_name != "numpy":
            made.gradients(given, deterministic)
    made.score(features)
    after = made.weights() | memory_state(made.network.memory)
    assert native.modes(made.network) == modes
    assert before.keys() == after.keys() and all(np.array_equal(value, after[name]) for name, value in before.items())


def test_a_failure_leaves_the_network_as_it_is(framework):
    """An error amid the losses: a batch whose second half is of another length than the memory has seen."""
    method, config = "adplg", CONFIGS["adplg"][0]
    made = detector(method, config, framework)
    native.training_losses(made, batch(method, config, 20))
    native.set_training(made.network, False)
    modes, memory = native.modes(made.network), memory_state(made.network.memory)
    with pytest.raises(wv.InputError, match="snippets, 20 before"):
        made.losses(batch(method, config, 9))
    after = memory_state(made.network.memory)
    assert native.modes(made.network) == modes and memory.keys() == after.keys()
    assert all(np.array_equal(value, after[name]) for name, value in memory.items())


def ways() -> dict:
    """What a caller may have chosen in PyTorch, {name: context}."""
    import torch

    @contextlib.contextmanager
    def setting(read, write, value):
        before = read()
        write(value)
        yield
        write(before)

    return {"no_grad": torch.no_grad(), "inference_mode": torch.inference_mode(),
            "float64": setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
            "device": torch.device("meta"), "autocast": torch.autocast("cpu", torch.bfloat16),
            "medium": setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium")}


def everything(method: str, config: dict, precision: str = "float32") -> list[dict]:
    """Scores, losses, gradients, and weights after steps, one of them after a resume."""
    made = detector(method, config, "torch")
    given, options = batch(method, config, 20), Options(precision=precision)
    found = [{"scores": made.score(video(method, config, 20))}, made.losses(given), made.gradients(given)]
    trainer = Trainer(made, RECIPE, options)
    found += [trainer.step(given), trainer.step(given)]
    state, trainer = trainer.state(), Trainer(made, RECIPE, options)
    trainer.restore(state)
    return [*found, trainer.step(given), made.weights(), {"scores": made.score(video(method, config, 20))}]


@pytest.mark.needs("torch")
@pytest.mark.parametrize("method, config, precision", [
    *((method, configs[-1], "float32") for method, configs in CONFIGS.items()),
    *((method, CONFIGS[method][-1], "bf16") for method in OF_EACH_KIND)])
def test_a_callers_choices_change_no_number(method, config, precision):
    """Of dtype, gradients, device, precision: a detector made and trained within them is the same, bit for bit."""
    with contextlib.nullcontext() if precision == "float32" else bf16_or_refusal():
        compare_ways(method, config, precision)


def compare_ways(method: str, config: dict, precision: str) -> None:
    expected = everything(method, config, precision)
    for name, context in ways().items():
        with context:
            found = everything(method, config, precision)
        for ours, theirs in zip(found, expected):
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[key], value) and np.asarray(ours[key]).dtype == np.asarray(value).dtype
                       for key, value in theirs.items()), (name, list(theirs)[:2])


CHOICES = {  # of precision in PyTorch, as callers make them by the older and by the newer settings
    "none": {}, "high": {"older": "high"}, "medium": {"older": "medium"}, "older": {"cudnn.allow_tf32": False},
    "inherited": {"fp32_precision": "tf32"},
    "conv inherits": {"fp32_precision": "tf32", "cudnn.conv.fp32_precision": "none"},
    "mixed": {"older": "medium", "cudnn.fp32_precision": "tf32", "mkldnn.conv.fp32_precision": "bf16"},
    "apart": {"cuda.matmul.fp32_precision": "tf32"}}
NEWER = ("", "cudnn.", "mkldnn.", "cuda.matmul.", "cudnn.conv.", "cudnn.rnn.", "mkldnn.matmul.", "mkldnn.conv.",
         "mkldnn.rnn.")


def put(settings: dict) -> None:
    import torch

    for name, value in settings.items():
        if name == "older":
            torch.set_float32_matmul_precision(value)
        else:
            owner, _, attribute = name.rpartition(".")
            setattr(operator.attrgetter(f"backends.{owner}".rstrip("."))(torch), attribute, value)


def settings() -> dict:
    """All of them; "apart" where PyTorch says that an older one and a newer one contradict each other."""
    import torch

    def read(name: str) -> object:
        try:
            if name == "older":
                return torch.get_float32_matmul_precision()
            return operator.attrgetter(f"backends.{name}")(torch)
        except RuntimeError:
            return "apart"

    return {name: read(name) for name in ("older", "cudnn.allow_tf32", *(f"{owner}fp32_precision" for owner in NEWER))}


def settings_and_what_they_inherit() -> list[dict]:
    """Also with another value, and with none, to inherit: which of them have one of their own shows then."""
    found = [settings()]
    for value in ("ieee", "none"):
        put({f"{owner}fp32_precision": value for owner in NEWER[:3]})
        found.append(settings())
    return found


def as_chosen(choice: str) -> None:
    """The settings as of a fresh process, and then the choice."""
    put({f"{owner}fp32_precision": "none" for owner in NEWER} | {"older": "highest", "cudnn.allow_tf32": True}
        | {f"{owner}fp32_precision": "none" for owner in ("cuda.matmul.", "mkldnn.matmul.")})
    put(CHOICES[choice])


@pytest.mark.needs("torch")
@pytest.mark.parametrize("choice", CHOICES)
def test_full_float32_is_full_and_leaves_the_settings(choice):
    """Within it none has less than float32; afterwards all are as they were, and inherit as they did."""
    from wvad_torch.isolation import full_float32

    try:
        as_chosen(choice)
        expected = settings_and_what_they_inherit()
        as_chosen(choice)
        with contextlib.suppress(KeyError), full_float32():
            found = settings()
            raise KeyError
        assert settings_and_what_they_inherit() == expected
    finally:
        as_chosen("none")
    reduced = {name: value for name, value in found.items() if value not in ("highest", False, "ieee", "none")}
    assert not reduced
