"""Which kernel takes what on the CPU: one table, by the processor's instruction set.

The row is chosen by what PyTorch says of the processor, never by timing, so that a run takes the same kernels again.

    product        y = x W^T    "pixels": oneDNN, as a convolution of kernel 1; "matrix": the BLAS behind F.linear
    convolution    over time    "image": oneDNN, channels-last and of width 1; "sequence": oneDNN, channels first, as
                                F.conv1d, with transposed copies

each with a kernel for the output, the gradient of the input and that of the weight. Milliseconds of the two, the better of
several runs on 2 cores of an AMD EPYC (Zen 5), whose BLAS (MKL) uses AVX2 alone, by `python benchmarks/routes.py`:

    FIGURES

Three taps and enough channels take minimal filtering (winograd.py) on both.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Kernels:
    """The kernels of one operation's output, of the gradient of its input and of that of its weight."""
    output: str
    of_input: str
    of_weight: str


@dataclass(frozen=True)
class Routes:
    product: Kernels
    convolution: Kernels


TABLE = {"AVX512": Routes(Kernels("pixels", "pixels", "pixels"), Kernels("image", "image", "sequence")),
         "AVX2": Routes(Kernels("pixels", "pixels", "matrix"), Kernels("sequence", "sequence", "sequence"))}


def row(capability: str) -> Routes:
    """That of what torch.backends.cpu.get_cpu_capability() says; of AVX2 for processors that were not measured."""
    return TABLE["AVX512" if capability.startswith("AVX512") else "AVX2"]


TAKEN = row(torch.backends.cpu.get_cpu_capability())
