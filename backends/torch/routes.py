"""Which kernel takes what on the CPU: one table, by the processor's instruction set.

The row is chosen by what PyTorch says of the processor, never by timing, so that a run takes the same kernels again.

    product        y = x W^T    "pixels": oneDNN, as a convolution of kernel 1; "matrix": the BLAS behind F.linear
    convolution    over time    "image": oneDNN, channels-last and of width 1; "sequence": oneDNN, channels first, as
                                F.conv1d, with transposed copies

each with a kernel for the output, the gradient of the input and that of the weight. Milliseconds of the three on 2 cores of an
AMD EPYC (Zen 5), by `python benchmarks/routes.py`, and held to AVX2; its BLAS, MKL, uses AVX2 alone there:

                                                                  AVX-512             held to AVX2
    product      pixels, 6400 rows, 512 -> 2048               41    28    38         66    54   123
                 matrix                                       77    64    64         76    64    64
                 pixels, 6000 rows, 2048 -> 2048             122   121   139        225   222   547
                 matrix                                      251   249   239        257   255   242
    convolution  image, 16 x 200, 1024 -> 512, 3 taps         21    22    59         83    83   123
                 sequence                                     26    30    41         46    51    59
                 minimal filtering                            26    19    24         28    29    33
                 image, 40 x 32, 2048 -> 512, dilation 2      23    19    50         68    71    91
                 sequence                                     21    24    25         38    41    49
                 minimal filtering                            16    22    27         25    31    29
                 image, 8 x 200, 1024 -> 1024, 5 taps         44    48   115        142   145   209
                 sequence                                     43    47    50         71    77    97

Three taps and enough channels take minimal filtering (blocks/minimal_filtering.py) on both, in training too: where no ReLU and no pick flips,
its gradients are as near to float64's as those of the direct way. Relative error of all gradients of a batch of 2 + 2 videos at
published widths, decisions taken over, largest of three seeds and four methods (AVX-512): 2.7e-6 filtered, 3.3e-6
direct.
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
