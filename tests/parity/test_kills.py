"""Runs that are killed at any moment and then resumed end as if nothing had happened: same weights, same history.

Bit for bit in PyTorch. MindSpore's CPU kernels do not round alike in every run, killed or not, by some 1e-7 a step; other
batches, random numbers or moments are farther away by orders.
"""
import killed_runs
import pytest


@pytest.mark.parametrize("name, method, kills, rounding", [
    pytest.param("torch", "adplg", 4, 0, marks=pytest.mark.needs("torch")),     # groups, a memory, dropout
    pytest.param("torch", "ssrl", 2, 0, marks=[pytest.mark.needs("torch"), pytest.mark.slow]),  # stages
    pytest.param("mindspore", "ur-dmu", 2, 1e-3, marks=pytest.mark.needs("mindspore"))])  # noise
def test_killed_runs_end_like_one_left_alone(name, method, kills, rounding, tmp_path):
    lines = killed_runs.killed(method, name, kills, tmp_path)
    assert len(lines) == kills and len(set(lines)) > 1, "killed in different places"
    killed_runs.check_ends(tmp_path, rounding)
