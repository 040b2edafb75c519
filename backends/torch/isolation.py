"""What a caller has set in PyTorch, set aside while this library computes and put back; networks left as they are."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial

import torch
from wvad_core.registry import memory_state, restore_memory

from .network import ClipNetwork, VideoNetwork
from .threads import alone, together


@contextmanager
def isolated(network: VideoNetwork) -> Iterator[None]:
    """Training, by one thread, as the caller's modes never change it: gradients are recorded, nothing is computed in less
    than float32, and dropout and noise come from the network's own random state, not from PyTorch's.
    """
    device = next(network.parameters()).device.type
    with (alone(), torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False), on_cpu_by_default(),
          full_float32(), _own_random_numbers(network)):
        torch.clear_autocast_cache()  # a caller's autocast keeps reduced copies of weights, which a step moves
        yield
        torch.clear_autocast_cache()


@contextmanager
def evaluated(network: VideoNetwork | ClipNetwork) -> Iterator[None]:
    """Evaluation mode, by several threads at a time, as the caller's modes never change it: nothing is recorded, and products
    are computed in the network's precision.
    """
    device = next(network.parameters()).device.type
    reduced = torch.autocast(device, network.precision, enabled=network.precision is not torch.float32)
    shared = {"full_float32": full_float32, id(network): partial(_evaluation_mode, network)}
    with together(shared), torch.inference_mode(), on_cpu_by_default(), reduced:
        yield


@contextmanager
def _evaluation_mode(network: VideoNetwork | ClipNetwork) -> Iterator[None]:
    with modes_kept(network):
        network.eval()
        yield


def on_cpu_by_default() -> AbstractContextManager:
    """Tensors are made on the CPU where no device is named, as always unless the caller has set another default."""
    return nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")


@contextmanager
def _own_random_numbers(network: VideoNetwork) -> Iterator[None]:
    """PyTorch's generators, the CPU's and that of the network's device, in the network's random state."""
    device = next(network.parameters()).device
    generators = [torch.default_generator]
    if device.type == "cuda":
        generators.append(torch.cuda.default_generators[device.index])
    callers = [generator.get_state() for generator in generators]
    for generator in generators:
        generator.set_state(network.random_state(generator.device))
    try:
        yield
    finally:
        for generator, state in zip(generators, callers):
            network.random_states[str(generator.device)] = generator.get_state()
            generator.set_state(state)


@contextmanager
def modes_kept(network: VideoNetwork | ClipNetwork) -> Iterator[None]:
    """Every module in training or in evaluation mode afterwards as it was before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def unchanged(network: VideoNetwork) -> Iterator[None]:
    """The network afterwards as before: modes, buffers, memory, random state. Parameters are not looked at."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    memory, random = memory_state(network.memory), dict(network.random_states)
    try:
        with modes_kept(network):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        restore_memory(network.memory, memory)
        network.random_states = random


# Where PyTorch keeps what float32 is computed in. The others inherit what the first have, where theirs is "none".
INHERITED = (torch.backends, torch.backends.cudnn, torch.backends.mkldnn)
PRECISIONS = tuple(operation for backend, names in ((torch.backends.cuda, ("matmul",)),
                                                    (torch.backends.cudnn, ("conv", "rnn")),
                                                    (torch.backends.mkldnn, ("matmul", "conv", "rnn")))
                   for name in names if hasattr(operation := getattr(backend, name, None), "fp32_precision"))
# The older settings beside them, which raise an error where they and the newer ones were set apart.
OLDER = ((torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
         (lambda: torch.backends.cudnn.allow_tf32, partial(setattr, torch.backends.cudnn, "allow_tf32"), False))


@contextmanager
def full_float32() -> Iterator[None]:
    """Products, convolutions and recurrences without TensorFloat-32 or bfloat16, which keep 3 digits and 2.

    Each setting is read with those out of the way that it inherits from, so that it is put back as it was set.
    """
    with ExitStack() as stack:
        older = _older()
        for owner in (*(INHERITED if PRECISIONS else ()), *PRECISIONS):
            stack.callback(setattr, owner, "fp32_precision", owner.fp32_precision)
            if owner in INHERITED:
                owner.fp32_precision = "none"
        older = _older() | older
        for read, write, exact in OLDER:
            if read in older:
                stack.callback(write, older[read])
                write(exact)
        for owner in PRECISIONS:
            if owner.fp32_precision != "none":
                owner.fp32_precision = "ieee"
        yield


def _older() -> dict[Callable[[], object], object]:
    """The older settings that can be read, by what reads them."""
    found = {}
    for read, *_ in OLDER:
        with suppress(RuntimeError):
            found[read] = read()
    return found
