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

Products of few rows are the BLAS's: oneDNN copies the weight for each. matrix over pixels at 16, 32, 64, 128 and 200 rows, output:

    2048 -> 512     0.37 0.54 0.77 1.61 1.76       held to AVX2  0.48 0.61 0.77 0.87 1.07
    1024 -> 1024    0.94 0.54 0.77 1.01 1.75                     0.96 0.83 0.89 1.04 1.06
     512 -> 512     0.89 0.93 1.21 1.57 1.71                     0.86 0.91 0.78 0.89 0.94

With one thread likewise: 1.7 at 200 rows of 2048 -> 512, 2.2 at 2000; held to AVX2 1.10 and 1.16.

The image's kernel copies the weight, and for few rows that takes longer than they do: image over sequence at 1 x 60, 1 x 300 and
10 x 32 snippets is 1.98, 1.65, 1.66 for 2048 -> 2048, 7.5, 2.7, 2.5 for 2048 -> 512, 1.9, 1.1, 0.96 for 1024 -> 512 (AVX-512, 3 taps).

Three taps, enough rows and enough channels take minimal filtering (blocks/minimal_filtering.py) on both: a row of x saves half of
its products, which cost I O, and its transforms cost I + O; the kernels' transforms are as one pays for some hundred rows.
Without gradients, direct time over filtered time with AVX-512; held to AVX2, at 10 x 30, 60, 120 and 240 snippets:

    1024 -> 1024    0.79 1.18 1.43 1.55    1.07 1.41 1.57 1.73          512 -> 512    0.83 1.00 1.02 1.17    1.06 1.46 1.55 1.58
    2048 -> 512     0.78 1.07 1.40 1.54    0.93 1.45 1.57 1.63          128 -> 128    0.39 0.45 0.54 0.70    0.66 1.32 1.32 1.23

In training too: where no ReLU and no pick flips, its gradients are as near to float64's as those of the direct way. Relative
error of all gradients of a batch of 2 + 2 videos at published widths, decisions taken over, largest of three seeds and four
methods (AVX-512): 2.7e-6 filtered, 3.3e-6 direct.

A product of 4096 inputs takes oneDNN longer than two of 2048 and their sum: 4096 -> 1024 over 2 x 2048 -> 1024 at 300, 600, 1024
and 2400 rows is 1.36, 1.35, 1.03, 1.09, held to AVX2 1.47, 1.51, 1.0, 1.0. A feed-forward that sums over parts of its 4096 hidden
channels, in evaluation, is 1.05 to 1.16 times as fast as whole at 300 to 2400 rows, held to AVX2 1.04 to 1.22.
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
class Filtering:
    """From where minimal filtering pays, for x (B, T, I) and O outputs: B T (1 - channels (1 / I + 1 / O)) >= rows."""
    rows: int
    channels: int

    def pays(self, rows: int, inputs: int, outputs: int) -> bool:
        return rows * (1 - self.channels * (1 / inputs + 1 / outputs)) >= self.rows


@dataclass(frozen=True)
class Routes:
    """few_rows: products of fewer are the BLAS's. large_convolution: of weights with LARGE inputs times outputs, and more."""
    product: Kernels
    few_rows: int
    convolution: Kernels
    large_convolution: Kernels
    filtering: Filtering

    def product_by(self, rows: int) -> Kernels:
        return BLAS if rows < self.few_rows else self.product

    def convolution_by(self, inputs: int, outputs: int) -> Kernels:
        return self.large_convolution if inputs * outputs >= LARGE else self.convolution


LARGE = 1 << 20
BLAS = Kernels("matrix", "matrix", "matrix")
TABLE = {"AVX512": Routes(Kernels("pixels", "pixels", "pixels"), 64, Kernels("image", "image", "sequence"),
                          Kernels("sequence", "image", "sequence"), Filtering(450, 100)),
         "AVX2": Routes(Kernels("pixels", "pixels", "matrix"), 128, Kernels("sequence", "sequence", "sequence"),
                        Kernels("sequence", "sequence", "sequence"), Filtering(250, 40))}


def row(capability: str) -> Routes:
    """That of what torch.backends.cpu.get_cpu_capability() says; of AVX2 for processors that were not measured."""
    return TABLE["AVX512" if capability.startswith("AVX512") else "AVX2"]


TAKEN = row(torch.backends.cpu.get_cpu_capability())
