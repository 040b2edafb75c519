"""How a test run spends cores and memory: a core for each process, what is shared together, the longest first.

With `pytest --numprocesses N` the unit of work is a file, or, of the published cases, whose networks are large, a model.
"""
from __future__ import annotations

import ctypes
import gc
import os
import re
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import pytest

MOST = 3 << 30
"""Bytes that no process of a run may take, nor a process that it starts."""

GROWTH = 256 << 20
"""Bytes by which a process may grow until memory that is no longer used is given back."""

FIRST = ("ssrl", "test_export", "test_parallel", "rtfm", "test_networks", "test_graph_mode", "test_demo_training",
         "test_kills", "adplg", "test_readme", "test_adding_a_method", "test_third_backend", "test_backend")
"""The units that take longest, in the order in which they are begun; the others follow as collected."""

MEANWHILE = {"test_training": "test_parallel"}
"""Files whose tests run while the processes that another file's first test has begun wait for each other."""

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
"""gw0, gw1, ...: which of several processes this is; None where it is the only one, or hands out the tests."""

OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
"""The environment for a pytest that a test starts: it is nobody's worker."""

STATUS, STATM = Path("/proc/self/status"), Path("/proc/self/statm")
CASES = sorted(path.stem for path in (Path(__file__).parent / "published" / "golden").glob("*.json"))
BACKENDS = ("numpy", "torch", "mindspore")
"""In the order in which they take up a published case: MindSpore last, which keeps the memory that it has had."""


def take_one_core() -> None:
    """One thread, on a core of its own; to be called before anything is imported that computes.

    MindSpore's threads wait for each other busily. On several cores they take time from the other processes, and wait
    for it; on one core they hand over at once.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if WORKER:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[int(WORKER.removeprefix("gw")) % len(cores)]})


def case_of(nodeid: str) -> str:
    """The published case that a test's parameters name, or ""."""
    return next(iter(set(CASES) & set(re.split(r"[\[\]-]", nodeid))), "")


@cache
def models() -> tuple[str, ...]:
    """Methods and extractors, as file names have them."""
    import wvad_core as wv

    return tuple(name.replace("-", "_") for name in (*wv.list_methods(), *wv.list_extractors()))


def unit(nodeid: str) -> str:
    """What runs in one process: what tests/published has of a model, or a file."""
    path = Path(nodeid.partition("::")[0])
    name = case_of(nodeid) or path.stem.removeprefix("test_")
    of_model = [model for model in models() if f"{name}_".startswith(f"{model}_")]
    return of_model[0] if of_model and path.parent.name == "published" else MEANWHILE.get(path.stem, path.stem)


def order(item: pytest.Item) -> tuple[int, int, int]:
    """The longest units first; in one of a model, case by case from the largest on, and backend by backend; one of two files
    begins with the first test of the file that it is named after, whose others come last."""
    name, given = unit(item.nodeid), getattr(item, "callspec", None)
    rank = FIRST.index(name) if name in FIRST else len(FIRST)
    if name not in models():
        return rank, 0 if "::test_processes_are_begun" in item.nodeid else 2 - (item.path.stem in MEANWHILE), 0
    backend = given and (given.params.get("backend") or given.params.get("framework"))
    case = case_of(item.nodeid)
    return rank, -CASES.index(case) if case else 1, BACKENDS.index(backend) if backend in BACKENDS else -1


def release() -> None:
    """Give memory that is no longer used back to the system."""
    gc.collect()  # MindSpore's cells refer to each other
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)


def resident() -> int:
    """Bytes that this process has in memory, on Linux; 0 elsewhere."""
    return int(STATM.read_text().split()[1]) * resource.getpagesize() if STATM.exists() else 0


def apart(function: Callable, *given):
    """What a function of a module gives, in a process of its own, whose memory is free when it ends."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(function, *given).result()


def peak() -> int:
    """The most bytes that this process, or one that it started, has had in memory so far."""
    bytes_each = 1 if sys.platform == "darwin" else 1024
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if STATUS.exists():  # on Linux, ru_maxrss begins at that of the process that started this one
        own = int(re.search(r"VmHWM:\s*(\d+)", STATUS.read_text())[1])
    else:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return bytes_each * max(own, started)


class Economy:
    """The plugin: order, distribution, and the peak of every process with the test that reached it."""

    def __init__(self) -> None:
        self.own, self.peaks, self.base = (0, ""), {}, resident()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=order)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log):
        from xdist.scheduler import LoadScopeScheduling

        class ByUnit(LoadScopeScheduling):
            def _split_scope(self, nodeid: str) -> str:
                return unit(nodeid)

        config.option.loadscopereorder = False  # by number of tests
        return ByUnit(config, log)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if peak() > self.own[0]:
            self.own = peak(), nodeid
        if resident() > self.base + GROWTH:
            release()
            if "wvad_mindspore.caches" in sys.modules:  # what MindSpore has prepared for the shapes of these tests
                sys.modules["wvad_mindspore.caches"].release()
            self.base = resident()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node) -> None:
        self.peaks[node.gateway.id] = getattr(node, "workeroutput", {}).get("peak", (0, "no report"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if WORKER:
            session.config.workeroutput["peak"] = self.own
        self.peaks = self.peaks or {"": self.own}
        if max(size for size, _ in self.peaks.values()) > MOST and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter) -> None:
        for name, (size, nodeid) in sorted(self.peaks.items()):
            if not size:  # no test was run
                continue
            over = f"; at most {MOST / 2**30:.0f} GiB are allowed" if size > MOST else ""
            terminalreporter.write_line(f"peak memory {name} {size / 2**30:.2f} GiB, {nodeid}{over}", red=bool(over))
