"""Runs that are killed at any moment and then resumed end as if nothing had happened: same weights, same history.

Bit for bit in PyTorch. MindSpore's CPU kernels do not round alike in every run, killed or not, by some 1e-7 a step; other
batches, random numbers or moments are farther away by orders.
"""
import json
import subprocess
import sys
from pathlib import Path

import devices
import numpy as np
import pytest

from compare import assert_close
from wvad_core.checkpoints.formats import safetensors
from wvad_core.training.run_folder import BEST, HISTORY, LAST, STATE

HERE = Path(__file__).parent


@pytest.mark.parametrize("name, method, kills, rounding", [
    pytest.param("torch", "adplg", 20, 0, marks=pytest.mark.needs("torch")),     # groups, a memory, dropout
    pytest.param("torch", "ssrl", 4, 0, marks=pytest.mark.needs("torch")),       # stages
    pytest.param("mindspore", "ur-dmu", 4, 1e-3, marks=pytest.mark.needs("mindspore"))])  # noise
def test_killed_runs_end_like_one_left_alone(name, method, kills, rounding, tmp_path):
    command = [sys.executable, HERE / "killed_runs.py", method, name, str(kills), tmp_path]
    done = subprocess.run(command, env=devices.environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout.splitlines()[-1])
    assert len(lines) == kills and len(set(lines)) > 1, "killed in different places"
    histories = [list(map(json.loads, (tmp_path / run / HISTORY).read_text().splitlines())) for run in ("whole", "killed")]
    for left_alone, resumed in zip(*histories, strict=True):
        assert resumed == (pytest.approx(left_alone, rel=rounding, abs=rounding) if rounding else left_alone)
    for file in (BEST, LAST, STATE):
        whole, killed = (safetensors.read(tmp_path / run / file).tensors for run in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        for tensor in whole:
            if rounding and whole[tensor].dtype == np.float32:
                assert_close(killed[tensor], whole[tensor], rounding, 1e-8)
            else:
                assert np.array_equal(whole[tensor], killed[tensor]), (file, tensor)
