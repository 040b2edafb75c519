"""Training and evaluation on several processes, as torchrun starts them, in PyTorch.

Each of R processes has a network with the same weights, and of every batch of B + B videos its share: B / R normal and
B / R abnormal ones. It computes their outputs, and by `gathered` gets those of all others. From there on all processes
compute the same: the loss terms of the whole batch, its total L. Nothing is averaged that is not a mean in the formula.

Why the gradients are exact. Every process has a total, L_1 = ... = L_R = L, and a copy p_r of each parameter. The
backward of a collective sums the gradients that all processes have for its result, so backward in process r finds the
derivative of L_1 + ... + L_R by its own p_r. Summed over r that is the derivative by all copies moved together,
d(R L)/dp; so the mean over processes is dL/dp, wherever p stands, before a `gathered` or behind it. BatchNorm over all
processes is a collective like any other. DistributedDataParallel makes the mean while backward still runs; gradients
are clipped afterwards.
"""
from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import numpy as np

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

_joined = False


def join() -> tuple[int, int]:
    """Compute together with others from now on: the group that the caller has initialised, or else the processes that
    torchrun has started, if there are several. What `processes` then gives.

    Collectives of a group made here run through gloo between CPUs and through NCCL between CUDA devices.
    """
    global _joined
    if not distributed.is_available():
        return 0, 1
    if not distributed.is_initialized() and "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        # Imported once there is a group, as optimisers do, it keeps the group beyond its end, and threads of gloo that may
        # abort the process while the interpreter ends.
        import_module("torch._dynamo")
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
    _joined = distributed.is_initialized()
    return processes()


def processes() -> tuple[int, int]:
    """(rank, size): which of how many processes this one is; (0, 1) without `join`, whatever is initialised."""
    if not (_joined and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def local_rank() -> int:
    """Which of this machine's processes this one is, and so which CUDA device it takes."""
    return int(os.environ.get("LOCAL_RANK", 0))


class _Sum(torch.autograd.Function):
    """The sum over all processes; backward, the sum of their gradients."""

    @staticmethod
    def forward(_, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(x)
        return x

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient)


def everywhere(x: Tensor) -> Tensor:
    """x of every process, which has the same shape in all, by rank: (...) -> (R, ...)."""
    rank, size = processes()
    return _Sum.apply(torch.stack([x if place == rank else torch.zeros_like(x) for place in range(size)]))


def gathered(x: Tensor, parts: int = 2) -> Tensor:
    """The rows of all processes, in the order of the whole batch: (n, ...) -> (R n, ...). The identity on one process.

    parts: of x, one after another, each of which is to be whole: 2, the normal and the abnormal half; 1, items in their order.
    """
    if processes()[1] == 1:
        return x
    return everywhere(x.reshape(parts, -1, *x.shape[1:])).transpose(0, 1).reshape(-1, *x.shape[1:])


def gather(array: np.ndarray) -> list[np.ndarray]:
    """The float array (n,) of every process, by rank; n may differ."""
    rank, size = processes()
    if size == 1:
        return [array]
    ends = np.cumsum(everywhere(torch.tensor(len(array))).tolist())
    total = torch.zeros(int(ends[-1]), dtype=torch.from_numpy(array).dtype)
    total[ends[rank] - len(array):ends[rank]] = torch.from_numpy(array)
    distributed.all_reduce(total)
    return np.split(total.numpy(), ends[:-1])


class _Losses(nn.Module):
    """A network whose forward gives its loss terms, as DistributedDataParallel takes one."""

    def __init__(self, function: Callable[..., dict[str, Tensor]], network: nn.Module):
        super().__init__()
        self.function, self.network = function, network

    def forward(self, *given: object) -> dict[str, Tensor]:
        return self.function(self.network, *given)


def averaging(function: Callable[..., dict[str, Tensor]], network: nn.Module, trained: Iterable[nn.Parameter],
              varying: bool) -> Callable[..., dict[str, Tensor]]:
    """function(network, ...), which gives the loss terms, as a function of the rest.

    On several processes `gradients` of its total are averaged over them; the weights become those of the first one.
    varying: a total may hang on some of the parameters `trained` only.
    """
    if processes()[1] == 1:
        return partial(function, network)
    trained = {id(parameter) for parameter in trained}
    frozen = [p for p in network.parameters() if p.requires_grad and id(p) not in trained]
    for parameter in frozen:
        parameter.requires_grad_(False)  # only while DistributedDataParallel notes what to average
    with _quiet():
        wrapped = DistributedDataParallel(_Losses(function, network), broadcast_buffers=False,
                                          find_unused_parameters=varying)
    for parameter in frozen:
        parameter.requires_grad_(True)
    return wrapped


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what DistributedDataParallel warns of: a name of its own, and a copy."""
    with warnings.catch_warnings():
        for message in ("`broadcast_buffers` is deprecated", "Grad strides do not match bucket view"):
            warnings.filterwarnings("ignore", message)
        yield


def gradients(total: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, ...]:
    """The gradients of a total loss, zeros where it does not depend on a parameter."""
    if processes()[1] == 1:
        return torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
    for parameter in parameters:
        parameter.grad = None
    with _quiet():
        total.backward(inputs=parameters)
    return tuple(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)
