"""Which kernel a convolution takes: one table, by what the processor or the device is.

The row is chosen by the processor's instruction set, never by timing, so that a run takes the same kernels again.

    "product"   windows gathered, then a matrix product; over time in evaluation, of three taps and enough channels, minimal
                filtering (blocks/minimal_filtering.py)
    "native"    MindSpore's own convolution. On a CPU it hands oneDNN plain layouts: with AVX2 that is a convolution by
                products (gemm:jit), with AVX-512 reference code

each over time and over grids, in evaluation and in training, where its gradients count. Milliseconds on 2 cores of an AMD EPYC
(Zen 5), MindSpore 2.10, output alone and with the gradients of input and weight:

                                                              AVX-512           held to AVX2
    over time   native, 10 x 200, 1024 -> 512, 3 taps         5286   9532         39    150
                product                                         24     91         37    125
                minimal filtering                               19      -         24      -
                native, 10 x 200, 1024 -> 512, 5 taps            -      -         57    230
                product                                         38    143         60    222
                native, 10 x 200, 1024 -> 512, 1 tap            15     55         18     80
                product                                          6     26         11     40
    grids       native, 32 x 3 x 5, 2048 -> 1024, 3 x 3      12375  22507        102    446
                product                                        281    800        174    347
                native, 32 x 4 x 7                               -      -        195    828
                product                                        251    956        234    595

Convolutions of clips are products on every CPU: what outputs see, laid out by NumPy, and MindSpore's product
(blocks/convolution3d.py), over three frames by minimal filtering. Native ones are reference code with AVX-512. docs/speed.md
has the time of whole extractors.

Products of matrices (`Linear`, attention) reach the same share of the peak on both, and have no other kernel.
ONEDNN_MAX_CPU_ISA=AVX2 would make native convolutions fast on AVX-512 too, but halves the rate of every product (430 to
230 GFLOP/s), so it is read here and never set.
"""
from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms


@dataclass(frozen=True)
class Kernels:
    """The kernels of one kind of convolution in evaluation and in training."""
    evaluation: str
    training: str


@dataclass(frozen=True)
class Routes:
    sequence: Kernels  # over time, (B, T, C)
    grid: Kernels      # (B, R, C, I)
    clip: Kernels      # (B, F, H, W, I), in evaluation alone


PRODUCT, NATIVE = Kernels("product", "product"), Kernels("native", "native")
TABLE = {"AVX512": Routes(PRODUCT, PRODUCT, PRODUCT),
         "AVX2": Routes(PRODUCT, Kernels("native", "product"), PRODUCT),
         "other": Routes(PRODUCT, PRODUCT, PRODUCT),  # of unknown speed: products are fast on every processor
         "device": Routes(NATIVE, NATIVE, NATIVE)}    # Ascend and GPU
NO_LIMIT = ("", "ALL", "DEFAULT")
"""Values of ONEDNN_MAX_CPU_ISA; AVX512_CORE and AVX10_1_512, each with suffixes, are no limit either."""


def capability(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None, limit: str | None = None) -> str:
    """The row of TABLE for this processor: "AVX512", "AVX2" or "other", which all but x86-64 on Linux is.

    cpuinfo, machine, limit: what tells; by default the system's, platform.machine() and oneDNN's variable
    ONEDNN_MAX_CPU_ISA, which makes it use less than the processor has.
    """
    machine = platform.machine() if machine is None else machine
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA", "") if limit is None else limit).upper()
    if machine != "x86_64" or not cpuinfo.exists():
        return "other"
    flags = next((line.split() for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), [])
    if "avx512bw" in flags and (limit in NO_LIMIT or limit.startswith(("AVX512", "AVX10"))):
        return "AVX512"
    return "AVX2" if "avx2" in flags and limit not in ("AVX", "SSE41") else "other"


CPU = capability()


def taken() -> Routes:
    """The row for the device that is set."""
    return TABLE[CPU if ms.get_context("device_target") == "CPU" else "device"]


def native(kernels: Kernels) -> tuple[bool, bool]:
    """Whether MindSpore's own kernel is taken in evaluation and in training: constants for what is compiled."""
    return kernels.evaluation == "native", kernels.training == "native"
