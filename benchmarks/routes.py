"""What PyTorch's kernels for products and convolutions take on this processor: the figures beside the table of routes.

    python benchmarks/routes.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/routes.py      held to AVX2

Milliseconds of the output, of the gradient of the input and of that of the weight, the best of several runs.
"""
from __future__ import annotations

import time
from collections.abc import Callable

import torch

from wvad_torch import kernels
from wvad_torch.blocks import minimal_filtering

PRODUCTS = ((6400, 512, 2048), (6000, 2048, 2048), (2560, 2048, 512))  # rows, I, O
CONVOLUTIONS = ((16, 200, 1024, 512, 3, 1), (40, 32, 2048, 512, 3, 2), (40, 32, 2048, 512, 3, 4),
                (8, 200, 1024, 1024, 5, 1))  # B, T, I, O, taps, dilation
RUNS, THREADS = 7, 2


def milliseconds(function: Callable[[], object]) -> float:
    function()
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def line(title: str, *functions: Callable[[], object]) -> None:
    print(f"{title:<52}" + "".join(f"{milliseconds(function):>10.1f}" for function in functions), flush=True)


def products() -> None:
    for rows, inputs, outputs in PRODUCTS:
        x, weight, dy = torch.randn(rows, inputs), torch.randn(outputs, inputs), torch.randn(rows, outputs)
        for name, kernel in kernels.PRODUCTS.items():
            line(f"product {name}, {rows} rows, {inputs} -> {outputs}", lambda: kernel.output(x, weight),
                 lambda: kernel.of_input(dy, x, weight), lambda: kernel.of_weight(dy, x, weight))


def convolutions() -> None:
    for batch, steps, inputs, outputs, taps, dilation in CONVOLUTIONS:
        x, weight = torch.randn(batch, steps, inputs), torch.randn(outputs, inputs, taps)
        dy = torch.randn(batch, steps, outputs)
        title = f"{batch} x {steps}, {inputs} -> {outputs}, {taps} taps, dilation {dilation}"
        for name, kernel in kernels.CONVOLUTIONS.items():
            line(f"{name}, {title}", lambda: kernel.output(x, weight, None, dilation).contiguous(),
                 lambda: kernel.of_input(dy, x, weight, dilation).contiguous(),
                 lambda: kernel.of_weight(dy, x, weight, dilation))
        if taps == 3:
            line(f"filtered, {title}", lambda: minimal_filtering.conv1d(x, minimal_filtering.transformed(weight), None, dilation),
                 lambda: minimal_filtering.conv1d(dy, [u.t() for u in minimal_filtering.transformed(weight, True)], None, dilation),
                 lambda: minimal_filtering.kernel_gradient(x, dy, dilation))


def main() -> None:
    torch.set_num_threads(THREADS)
    print(f"{torch.backends.cpu.get_cpu_capability()}, {THREADS} threads\n")
    print(f"{'':<52}{'output':>10}{'of input':>10}{'of weight':>10}")
    with torch.no_grad():
        products()
        convolutions()


if __name__ == "__main__":
    main()
