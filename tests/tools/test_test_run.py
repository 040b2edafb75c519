"""A test run names its backends, and fails when one that it asks for cannot start."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def collected(*arguments: str, without: str | None = None) -> subprocess.CompletedProcess:
    """pytest --collect-only, in an interpreter in which importing `without` fails."""
    block = f"import sys; sys.modules[{without!r}] = None; " if without else ""
    program = f"{block}import pytest; raise SystemExit(pytest.main({[*arguments, '--collect-only', 'tests/published']!r}))"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)


def test_the_header_names_backends_and_versions():
    run = collected("--backends", "numpy")
    assert run.returncode == 0
    assert f"wvad backends: numpy (numpy {__import__('numpy').__version__})" in run.stdout
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
