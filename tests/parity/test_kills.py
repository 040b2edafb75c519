"""Runs that are killed at any moment and then resumed end as if nothing had happened: same weights, same history."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import devices
from wvad_core.checkpoints import safetensors
from wvad_core.runs import BEST, HISTORY, LAST, STATE

HERE = Path(__file__).parent


@pytest.mark.parametrize("name, method, kills", [
    pytest.param("torch", "adplg", 20, marks=pytest.mark.needs("torch")),     # groups, a memory, dropout
    pytest.param("torch", "ssrl", 4, marks=pytest.mark.needs("torch")),       # stages
    pytest.param("mindspore", "ur-dmu", 4, marks=pytest.mark.needs("mindspore"))])  # noise
def test_killed_runs_end_like_one_left_alone(name, method, kills, tmp_path):
    command = [sys.executable, HERE / "killed_runs.py", method, name, str(kills), tmp_path]
    done = subprocess.run(command, env=devices.environment() | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    lines = json.loads(done.stdout.splitlines()[-1])
    assert len(lines) == kills and len(set(lines)) > 1, "killed in different places"
    assert (tmp_path / "whole" / HISTORY).read_bytes() == (tmp_path / "killed" / HISTORY).read_bytes()
    for file in (BEST, LAST, STATE):
        whole, killed = (safetensors.read(tmp_path / run / file).tensors for run in ("whole", "killed"))
        assert whole.keys() == killed.keys()
        for tensor in whole:
            assert np.array_equal(whole[tensor], killed[tensor]), (file, tensor)
