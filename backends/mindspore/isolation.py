"""What a caller has set in MindSpore, set aside while this library computes and put back; networks left as they are."""
from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import mindspore as ms
from mindspore._c_expression import MSContext, ms_ctx_param
from wvad_core.registry import memory_state, restore_memory

from .network import ClipNetwork, VideoNetwork
from .threads import a_core_each, alone, check_process


@contextmanager
def isolated(network: VideoNetwork | ClipNetwork) -> Iterator[None]:
    """By one thread at a time, not in a forked process (`check_process`). On the CPU, operators run in it: the threads that
    dispatch them otherwise wait busily and take half of a small machine from the arithmetic. Dropout and noise are the
    layers' own at all times.

    By the handle of `mindspore.set_context(pynative_synchronize=...)`, which logs at every call that it is deprecated;
    `mindspore.runtime.launch_blocking` cannot be taken back.
    """
    check_process()
    with alone():
        if ms.get_context("device_target") != "CPU":
            yield
            return
        context, switch = MSContext.get_instance(), ms_ctx_param.pynative_synchronize
        before = context.get_param(switch)
        context.set_param(switch, True)
        try:
            with a_core_each():
                yield
        finally:
            context.set_param(switch, before)


@contextmanager
def evaluated(network: VideoNetwork | ClipNetwork) -> Iterator[None]:
    """Isolated, and in evaluation mode. Operator by operator where the caller has chosen graph mode too: videos are of
    many lengths, and a graph for each takes seconds to compile and 20 MB, which MindSpore keeps.
    """
    with isolated(network), modes_kept(network):
        mode = ms.get_context("mode")
        if mode != ms.PYNATIVE_MODE:
            ms.set_context(mode=ms.PYNATIVE_MODE)
        network.set_train(False)
        try:
            yield
        finally:
            if mode != ms.PYNATIVE_MODE:
                ms.set_context(mode=mode)


@contextmanager
def modes_kept(network: VideoNetwork | ClipNetwork) -> Iterator[None]:
    """Every cell in training or in evaluation mode afterwards as it was before."""
    modes = [(cell, cell.training) for _, cell in network.cells_and_names()]  # a cell comes before those in it
    try:
        yield
    finally:
        for cell, mode in modes:
            if cell.training != mode:
                cell.set_train(mode)


@contextmanager
def unchanged(network: VideoNetwork) -> Iterator[None]:
    """The network afterwards as before: modes, buffers, memory, random state. Parameters are not looked at."""
    buffers = [(buffer, buffer.asnumpy().copy()) for buffer in network.get_parameters() if not buffer.requires_grad]
    random = [(layer, copy.deepcopy(layer.rng)) for layer in network.random_layers()]
    memory = memory_state(network.memory)
    try:
        with modes_kept(network):
            yield
    finally:
        for buffer, value in buffers:
            buffer.set_data(ms.Tensor(value))
        for layer, rng in random:
            layer.rng = rng
        restore_memory(network.memory, memory)
