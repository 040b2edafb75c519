"""What MindSpore keeps of every shape that it has computed with, given back from time to time.

Each operator is prepared for each shape of its inputs, and that is kept: with videos of all lengths up to 1000 some 1.5 GB by
a published transformer, most of it oneDNN's, in whose gaps the memory of finished operators stays too. A shape that comes again after
its preparation was given back is prepared anew.
"""
from __future__ import annotations

import ctypes
import os
from pathlib import Path

import mindspore as ms
from mindspore.nn.cell import _pynative_executor

SHAPES = 48
"""After so many different ones it is given back, which takes about 50 ms."""

_seen: set[tuple[int, ...]] = set()


def computed(shape: tuple[int, ...]) -> None:
    """Something was computed of an array of this shape on the CPU."""
    _seen.add(shape)
    if len(_seen) >= SHAPES and not _pynative_executor.grad_flag():  # a caller's own gradient may be under way around this
        _seen.clear()
        release()


def release() -> None:
    """Give back MindSpore's prepared operators, oneDNN's, and what the C library keeps of memory that is free."""
    _pynative_executor.clear_res()
    for library in map(_loaded, sorted(Path(ms.__file__).parent.glob("lib/libdnnl.so*"))):
        capacity = ctypes.c_int()
        if library and not library.dnnl_get_primitive_cache_capacity(ctypes.byref(capacity)):
            library.dnnl_set_primitive_cache_capacity(0)
            library.dnnl_set_primitive_cache_capacity(capacity)
    if os.name == "posix":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)  # of glibc


def _loaded(path: Path) -> ctypes.CDLL | None:
    """A library if it is in use, None otherwise."""
    try:
        return ctypes.CDLL(str(path), mode=getattr(os, "RTLD_NOLOAD", 0))
    except OSError:
        return None
