"""The device of a test run: `pytest --device cuda`, `cuda:1` or `ascend`; cpu by default.

A kind of device belongs to one framework; the others compute on the CPU, and are what the device is compared with.
"""
from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import wvad_core as wv
from wvad_core.backend import find_backend

FRAMEWORKS = {"cpu": ("torch", "mindspore"), "cuda": ("torch",), "ascend": ("mindspore",)}
VARIABLE = "WVAD_TEST_DEVICE"
"""The environment variable that hands the device to the processes that tests start."""

TOLERANCES = {  # relative errors; those of cuda and ascend are expectations, not measured yet
    # float32 scores, loss terms and running statistics; gradients; weights after ten optimiser steps; bf16 scores
    "cpu": {"OUTPUT": 1e-5, "GRADIENT": 1e-4, "TRAINED": 1e-4, "REDUCED": 0.02},
    "cuda": {"OUTPUT": 2e-5, "GRADIENT": 2e-4, "TRAINED": 5e-4, "REDUCED": 0.02},
    "ascend": {"OUTPUT": 1e-3, "GRADIENT": 5e-3, "TRAINED": 5e-3, "REDUCED": 0.02},  # products in HF32
}


def asked() -> str:
    return os.environ.get(VARIABLE, "cpu")


def kind() -> str:
    return asked().partition(":")[0]


def of(backend: str) -> str:
    """The device that a backend computes on in this run."""
    return asked() if backend in FRAMEWORKS[kind()] else "cpu"


def choose(device: str, backends: list[str]) -> None:
    """Take the device for this run. Raises InputError where it is not known or not there, or no backend computes on it."""
    if device.partition(":")[0] not in FRAMEWORKS:
        raise wv.InputError(f"unknown device {device!r}, expected cpu, cuda[:INDEX] or ascend[:INDEX]")
    os.environ[VARIABLE] = device
    users = [backend for backend in backends if backend in FRAMEWORKS[kind()]]
    if not users and device != "cpu":
        expected = ", ".join(FRAMEWORKS[kind()])
        raise wv.InputError(f"none of {', '.join(backends)} computes on {device!r}; expected {expected}")
    for backend in users:
        settle(backend)
        if device != "cpu":  # one that cannot start shows here
            wv.create("saa", backend, feature_dim=8, attention_dim=4, hidden_dims=(4, 2))


def settle(backend: str) -> None:
    """Have the networks that tests build on the CPU, or without naming a device, built on the run's."""
    module = find_backend(backend)
    build = getattr(module.build, "__wrapped__", module.build)

    @functools.wraps(build)
    def on_the_device(method, config, weights, device="auto", *more, **named):
        return build(method, config, weights, of(backend) if device in ("auto", "cpu") else device, *more, **named)

    module.build = on_the_device


def environment() -> dict[str, str]:
    """The environment of a process that a test starts: the tests' own modules come before what PYTHONPATH says."""
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here / "parity"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def peak(function: Callable[[], object]) -> int:
    """The most bytes of the run's device that are in use while a function runs."""
    memory = {"cuda": lambda: sys.modules["torch"].cuda, "ascend": lambda: sys.modules["mindspore"].runtime}[kind()]()
    memory.reset_peak_memory_stats()
    function()
    return memory.max_memory_allocated()
