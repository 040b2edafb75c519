"""A test run names its backends, and fails when one that it asks for cannot start."""
import ast
import os
import subprocess
import sys
from pathlib import Path

import devices
import economy
import pytest

import wvad_core

ROOT = Path(__file__).parents[2]


def collected(*arguments: str, without: str | None = None) -> subprocess.CompletedProcess:
    """pytest --collect-only, in an interpreter in which importing `without` fails."""
    block = f"import sys; sys.modules[{without!r}] = None" if without else ""
    return pytest_run(block, *arguments, "--collect-only", str(ROOT / "tests" / "published" / "test_saa.py"))


def pytest_run(before: str, *arguments: str) -> subprocess.CompletedProcess:
    """pytest in an interpreter that has run other lines before; what distributes this run does not reach it."""
    program = f"{before}\nimport pytest\nraise SystemExit(pytest.main({[*arguments]!r}))"
    own = {name: value for name, value in os.environ.items() if name not in ("PYTEST_XDIST_WORKER", devices.VARIABLE)}
    return subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True)


def test_the_header_names_backends_and_versions():
    run = collected("--backends", "numpy")
    assert run.returncode == 0
    assert f"wvad in {Path(wvad_core.__file__).parent}; backends: numpy (numpy {__import__('numpy').__version__})" in run.stdout
    assert "mindspore" not in run.stdout


@pytest.mark.parametrize("wanted", ["torch", "mindspore"])
def test_a_framework_that_is_not_there_fails_the_run(wanted):
    run = collected("--backends", f"numpy,{wanted}", without=wanted)
    assert run.returncode != 0
    assert f"backend {wanted} cannot start" in run.stderr and "pip install" in run.stderr


def test_an_unknown_backend_fails_the_run():
    run = collected("--backends", "numpy,nosuch")
    assert run.returncode != 0
    assert "unknown backend 'nosuch'; the backends are mindspore, numpy, torch" in run.stderr


@pytest.mark.parametrize("backends, device, message", [
    ("numpy", "tpu", "unknown device 'tpu', expected cpu, cuda[:INDEX] or ascend[:INDEX]"),
    ("numpy", "cuda", "none of numpy computes on 'cuda'; expected torch"),
    pytest.param("torch", "cuda:99", "device 'cuda:99' is not there: PyTorch", marks=pytest.mark.needs("torch")),
    pytest.param("mindspore", "ascend:99", "device 'ascend:99' is not there: ", marks=pytest.mark.needs("mindspore"))])
def test_a_device_that_is_not_there_fails_the_run(backends, device, message):
    run = collected("--backends", backends, "--device", device)
    assert run.returncode != 0 and "collected" not in run.stdout
    lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1 and lines[0].startswith(f"ERROR: --device: {message}")


RECORD = """
import atexit
from wvad_core.backend import find_backend
built = set()
atexit.register(lambda: print(f"\\nbuilt: {sorted(built)}"))
def record(name, build):
    def recorded(method, config, weights, device="auto", *more, **named):
        built.add((name, device))
        return build(method, config, weights, device, *more, **named)
    return recorded
for name in ("torch", "mindspore"):
    find_backend(name).build = record(name, find_backend(name).build)
"""
ON_A_DEVICE = {
    "published/test_golden.py": "test_scores and saa_eval or (test_loss_terms or gradient) and ar_net_mean and not True",
    "published/test_ur_dmu.py": "noise_is", "parity/test_networks.py": "test_scores and saa-config10 and (1-5 or 3-10)",
    "parity/test_training.py": "adam and saa-config10 or bfloat16 and saa", "parity/test_devices.py": "is_where"}


@pytest.mark.needs("torch", "mindspore")
def test_all_is_built_on_the_device_of_the_run():
    """Golden cases, parity, training steps and mixed precision, with the CPU under another name."""
    files = [str(ROOT / "tests" / file) for file in ON_A_DEVICE]
    chosen = " or ".join(f"{Path(file).stem} and ({words})" for file, words in ON_A_DEVICE.items())
    run = pytest_run(RECORD, "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--device", "cpu:0", "-k", chosen, *files)
    assert run.returncode == 0, run.stdout[-3000:]
    built = ast.literal_eval(run.stdout.rpartition("built: ")[2])
    assert built == [("mindspore", "cpu:0"), ("torch", "cpu:0")]


@pytest.mark.parametrize("nodeid, unit", [
    ("tests/published/test_golden.py::test_scores[numpy-ssrl_stage4_eval]", "ssrl"),
    ("tests/published/test_magnitude.py::test_magnitudes_in_evaluation[rtfm_eval-torch]", "rtfm"),
    ("tests/published/test_golden.py::test_loss_terms[numpy-ar_net_mean-False]", "ar_net"),
    ("tests/published/test_adplg.py::test_pseudo_labels", "adplg"),
    ("tests/parity/test_networks.py::test_x[ssrl]", "test_networks")])
def test_what_runs_in_one_process(nodeid, unit):
    assert economy.unit(nodeid) == unit


ONE_CORE = """
import os, sys
os.sched_setaffinity(0, range(os.cpu_count()))
cores = sorted(os.sched_getaffinity(0))
import economy
economy.take_one_core()
computing = {"numpy", "torch", "mindspore"} & set(sys.modules)
print(cores, sorted(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS"), computing or None)
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a core")
@pytest.mark.parametrize("number", [0, 1, None])
def test_each_of_several_processes_has_a_core_and_a_thread(number):
    own = {name: value for name, value in os.environ.items() if name not in ("PYTEST_XDIST_WORKER", "OMP_NUM_THREADS")}
    own |= {} if number is None else {"PYTEST_XDIST_WORKER": f"gw{number}"}
    done = subprocess.run([sys.executable, "-c", ONE_CORE], env=own, cwd=ROOT / "tests", check=True, capture_output=True,
                          text=True)
    cores = ast.literal_eval(done.stdout.partition("]")[0] + "]")
    taken, threads = (cores, None) if number is None else ([cores[number % len(cores)]], "1")
    assert done.stdout == f"{cores} {taken} {threads} None\n"


def test_the_units_begun_first_are_there():
    files = {path.stem for path in (ROOT / "tests").glob("*/test_*.py")}
    assert set(economy.FIRST) <= files | set(economy.models())


LARGE = """
import economy
def test_small():
    pass
def test_large():
    economy.MOST = economy.peak() + (50 << 20)
    assert bytearray(200 << 20)[-1] == 0
def test_after():
    pass
"""


@pytest.mark.parametrize("chosen, status", [("small or after", 0), ("large", 1), ("small or large or after", 1)])
def test_a_process_that_takes_too_much_fails_the_run(chosen, status, tmp_path):
    (tmp_path / "test_own.py").write_text(LARGE)
    (tmp_path / "conftest.py").write_text("import economy\n"
                                          "def pytest_configure(config): config.pluginmanager.register(economy.Economy())\n")
    run = pytest_run(f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})", "--rootdir", str(tmp_path), "-p",
                     "no:cacheprovider", "-k", chosen, str(tmp_path))
    assert run.returncode == status, run.stdout
    assert ("GiB are allowed" in run.stdout) == bool(status) and "peak memory" in run.stdout
    assert not status or "test_own.py::test_large;" in run.stdout


def test_memory_is_given_back_when_a_process_has_grown(monkeypatch):
    sizes, given_back = iter([0, economy.GROWTH, economy.GROWTH + 1, 5, economy.GROWTH + 5, economy.GROWTH + 6, 6]), []
    monkeypatch.setattr(economy, "resident", lambda: next(sizes))
    monkeypatch.setattr(economy, "release", lambda: given_back.append(number))
    plugin = economy.Economy()
    for number in range(4):
        plugin.pytest_runtest_logfinish(f"test {number}")
    assert given_back == [1, 3]
