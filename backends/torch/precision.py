"""What products are computed in instead of float32, and where that is faster."""
from __future__ import annotations

import platform

import torch
from wvad_core.errors import InputError

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}
PROBES = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # of torch.cpu; a PyTorch without them does not say


def product_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of a precision. Raises InputError for an unknown one, and for bf16 on a CPU without instructions for it."""
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; the torch backend has {', '.join(PRECISIONS)}")
    if precision == "bf16" and device.type == "cpu" and not bf16_instructions():
        raise InputError(f"precision {precision!r}: this CPU has no bf16 instructions and would be slower, expected float32")
    return PRECISIONS[precision]


def bf16_instructions() -> bool:
    """Whether the CPU multiplies bfloat16 itself: AVX-512 BF16, AMX or Arm's, where oneDNN may use them.

    oneDNN says so on Arm. On x86 it says what it has kernels for, which emulate bfloat16 where there is plain AVX-512.
    """
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return not x86 or any(getattr(torch.cpu, name, bool)() for name in PROBES)
