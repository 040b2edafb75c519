"""Several threads, and processes forked from one that has computed."""
import multiprocessing
import os
import signal
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pytest

import native
import wvad_core as wv
from cases import CONFIGS, batch, detector, video
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

METHODS = ("saa", "bn-wvad")
RECIPE = Recipe(segments=20, videos=3, steps=3)
LENGTHS = (1, 5, 17, 33, 70)
FORKS = "fork" in multiprocessing.get_all_start_methods()


def at_once(functions, threads: int = 4) -> list:
    """What functions give, called by several threads that change places often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(threads) as pool:
            return [future.result() for future in [pool.submit(function) for function in functions]]
    finally:
        sys.setswitchinterval(interval)


def test_threads_score_as_one_does(backend):
    """One detector and several, of which one is in training mode, where it has dropout, and stays in it."""
    made = [detector(method, CONFIGS[method][0], backend) for method in METHODS]
    if made[0].backend.TRAINS:
        native.set_training(made[0].network, True)
    modes = native.modes(made[0].network)
    jobs = [(found, video(found.method, CONFIGS[found.method][0], steps, 2)) for steps in LENGTHS for found in made]
    expected = [found.score(features) for found, features in jobs]
    found = at_once([lambda job=job: job[0].score(job[1]) for job in 2 * jobs])
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, 2 * expected, strict=True))
    assert native.modes(made[0].network) == modes


@pytest.mark.needs("torch")
def test_the_last_thread_to_leave_puts_modes_and_precision_back():
    import torch

    from wvad_torch.isolation import evaluated

    network, inside, left = detector("saa", CONFIGS["saa"][0], "torch").network.train(), Barrier(2, timeout=20), Event()

    def state() -> tuple[bool, str]:
        return network.training, torch.get_float32_matmul_precision()

    def first() -> None:
        with evaluated(network):
            inside.wait()
        left.set()

    def last() -> tuple[bool, str]:
        with evaluated(network):
            inside.wait()
            assert left.wait(20)
            return state()

    torch.set_float32_matmul_precision("medium")
    try:
        assert at_once([first, last])[1] == (False, "highest")
        assert state() == (True, "medium")
    finally:
        torch.set_float32_matmul_precision("highest")


def test_threads_that_train_create_and_score(framework):
    """Each its own detector, with dropout and noise, while another is scored: as one after another."""
    def trained(seed: int) -> dict:
        made = detector("ur-dmu", CONFIGS["ur-dmu"][0], framework)
        trainer = Trainer(made, RECIPE)
        given = [batch("ur-dmu", CONFIGS["ur-dmu"][0], 20, seed=seed + step) for step in range(2)]
        return {str(step): trainer.step(one)["total"] for step, one in enumerate(given)} | made.losses(given[0])

    other, features = detector("saa", CONFIGS["saa"][0], framework), video("saa", CONFIGS["saa"][0], 30)
    expected, scores = [trained(seed) for seed in range(2)], other.score(features)
    found = at_once([function for seed in range(2)
                     for function in (lambda seed=seed: trained(seed), lambda: other.score(features))])
    for ours, theirs in zip(found[::2], expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-7)
    assert all(np.array_equal(one, scores) for one in found[1::2])


def in_a_fork(function) -> str:
    """What a function gives or raises in a forked process; "" from one that hangs for ten seconds."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks of a process with threads
        pid = os.fork()
    if not pid:
        try:
            signal.alarm(10)
            os.write(writer, str(function()).encode())
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        found = pipe.read()
    os.waitpid(pid, 0)
    return found


@pytest.mark.skipif(not FORKS, reason="this system does not fork")
@pytest.mark.needs("mindspore")
@pytest.mark.on_the_cpu
def test_a_fork_after_mindspore_has_computed_says_what_to_do():
    made, features = detector("saa", CONFIGS["saa"][0], "mindspore"), video("saa", CONFIGS["saa"][0], 8)
    given = batch("saa", CONFIGS["saa"][0], 20)
    made.score(features)
    for function in (lambda: made.score(features), lambda: made.losses(given), lambda: Trainer(made, RECIPE)):
        found = in_a_fork(function)
        assert found.startswith("Failure: MindSpore has computed in the process that this one was forked from") and '("spawn")' in found
        assert "\n" not in found


@pytest.fixture
def two_threads():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield torch
    torch.set_num_threads(before)


@pytest.mark.skipif(not FORKS, reason="this system does not fork")
@pytest.mark.needs("torch")
@pytest.mark.on_the_cpu
def test_a_fork_after_pytorch_has_computed(two_threads):
    """With several threads it says what to do, with one it computes."""
    config = {"feature_dim": 256, "hidden_dims": (128, 32)}
    made, features = wv.create("rtfm", "torch", **config), np.ones((10, 200, 256), np.float32)  # large enough for both threads
    made.score(features)
    for function in (lambda: made.score(features), lambda: wv.create("rtfm", "torch", **config),
                     lambda: Trainer(made, RECIPE).step(wv.Batch(features[:2], np.array([0, 1])))):
        found = in_a_fork(function)
        assert found.startswith("Failure: PyTorch has computed by several threads") and "set_num_threads(1)" in found
        assert "\n" not in found

    def alone() -> str:
        two_threads.set_num_threads(1)
        return str(made.score(features))

    assert in_a_fork(alone) == alone()


@pytest.mark.needs("mindspore")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity") or os.cpu_count() < 2, reason="the system binds no threads, or has one core")
def test_mindspores_threads_have_a_core_each_while_it_computes(monkeypatch):
    """It calls them as it did, and those that are called so are bound, and released afterwards."""
    from wvad_mindspore import threads

    made = detector("rtfm", CONFIGS["rtfm"][0], "mindspore")
    made.score(video("rtfm", CONFIGS["rtfm"][0], 2000, 2))  # what is large enough for several threads
    assert threads.workers()
    end, started, inside = Event(), Barrier(3, timeout=20), []

    def wait() -> None:
        os.sched_setaffinity(0, {0, 1})
        started.wait()
        end.wait()

    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(wait)
        started.wait()
        named = {thread.native_id: {0, 1} for thread in pool._threads}
        monkeypatch.setattr(threads, "workers", lambda: {number: os.sched_getaffinity(number) for number in named})
        try:
            forward = type(made.network).construct
            monkeypatch.setattr(type(made.network), "construct", lambda *given: inside.append(threads.workers()) or forward(*given))
            made.score(video("rtfm", CONFIGS["rtfm"][0], 5, 2))
            assert sorted(map(sorted, inside[0].values())) == [[0], [1]] and threads.workers() == named
        finally:
            end.set()
