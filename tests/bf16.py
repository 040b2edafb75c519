"""Whether the CPU has bf16 instructions, and what tests expect where it has none."""
from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import devices
import pytest

import wvad_core as wv

BF16_REFUSED = r"precision 'bf16': this CPU has no bf16 instructions .*, expected float32"


def cpu_has_bf16() -> bool:
    """By the system's list of the CPU's instructions, where oneDNN is not kept from them."""
    flags = re.findall(r"^(?:flags|Features)\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M)[0].split()
    return "ONEDNN_MAX_CPU_ISA" not in os.environ and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)


def bf16_or_refusal() -> AbstractContextManager:
    """Around what PyTorch computes in bf16: where that is on a CPU that cannot, it is to be refused."""
    if devices.kind() == "cuda" or cpu_has_bf16():
        return nullcontext()
    return pytest.raises(wv.InputError, match=BF16_REFUSED)
