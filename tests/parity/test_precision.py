"""bf16 on the CPU: scores within 2 % and AUC within 0.001 of float32, on the demo set; refused where the CPU has none."""
import os
import re
import subprocess
import sys

import devices
import numpy as np
import pytest
from bf16 import BF16_REFUSED, bf16_or_refusal, cpu_has_bf16

import wvad_core as wv
from compare import REDUCED, error
from wvad_core.data import demo
from wvad_core.registry import specification


@pytest.mark.needs("torch")
@pytest.mark.parametrize("method", wv.list_methods())
def test_bf16_on_the_demo_set(method):
    layout = specification(method).Config.layout
    dataset = wv.data.Dataset.open("demo", demo.demo_features(layout=layout))
    with bf16_or_refusal():
        nearly_as_in_float32(method, dataset)


def nearly_as_in_float32(method: str, dataset: wv.data.Dataset) -> None:
    reduced, exact = (wv.evaluate(wv.load(demo.demo_checkpoint(method), "torch", devices.of("torch"), precision), dataset,
                                  replicates=1) for precision in ("bf16", "float32"))
    scores = [np.concatenate([video.scores for video in report.videos]) for report in (reduced, exact)]
    assert 0 < error(*scores) < REDUCED
    assert abs(reduced.metrics["auc"] - exact.metrics["auc"]) < 0.001
    assert (exact.about["precision"], reduced.about["precision"]) == ("float32", "bf16")


def test_an_unknown_precision_is_refused(backend):
    with pytest.raises(wv.InputError, match="'int8'"):
        wv.create("saa", backend=backend, precision="int8", feature_dim=8)


@pytest.mark.needs("torch")
def test_what_the_cpu_has():
    from wvad_torch.precision import bf16_instructions

    assert bf16_instructions() == cpu_has_bf16()


@pytest.mark.needs("torch")
@pytest.mark.parametrize("kernels, machine, avx512, amx, expected", [
    (False, "x86_64", False, False, False),  # AVX2
    (True, "x86_64", False, False, False),   # plain AVX-512, on which oneDNN emulates
    (True, "x86_64", True, False, True),
    (True, "AMD64", False, True, True),
    (False, "x86_64", True, True, False),    # oneDNN is told to keep to AVX2
    (True, "aarch64", False, False, True),
    (False, "aarch64", False, False, False),
])
def test_which_cpus_have_it(monkeypatch, kernels, machine, avx512, amx, expected):
    import torch

    from wvad_torch import precision

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: kernels)
    monkeypatch.setattr(precision.platform, "machine", lambda: machine)
    for name, value in zip(precision.PROBES, (avx512, amx), strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value)
    assert precision.bf16_instructions() == expected


HELD_TO_AVX2 = """
import torch, wvad_core as wv
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer
made = wv.create("ar-net", "torch", "cpu", variant="lstm", feature_dim=16)
recipe = Recipe(segments=20, videos=3, steps=1)
for refused in (lambda: wv.create("ar-net", "torch", "cpu", "bf16", variant="lstm", feature_dim=16),
                lambda: Trainer(made, recipe, Options(precision="bf16"))):
    try:
        refused()
    except wv.InputError as error:
        print(error)
x = torch.rand(2, 20, 16)
with torch.autocast("cpu", torch.bfloat16):
    near = made.network(x)
exact = made.network(x)
assert (near.float() - exact.float()).norm() < 0.02 * exact.norm()
"""


@pytest.mark.needs("torch")
def test_a_cpu_held_to_avx2_refuses_it():
    """And a user's own autocast does not break the LSTM, of which oneDNN has none in bf16 there."""
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    run = subprocess.run([sys.executable, "-c", HELD_TO_AVX2], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 2 and all(re.fullmatch(BF16_REFUSED, line) for line in lines)
