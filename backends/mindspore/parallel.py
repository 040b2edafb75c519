"""Training and evaluation on several processes, as msrun starts them, in MindSpore.

How a batch is shared and why the gradients are exact is told in `backends/torch/parallel.py`. Here every collective is an
AllReduce, whose gradient is an AllReduce: what is gathered is padded with zeros, since the gradient of AllGather has no
kernel on the CPU. Gradients are averaged in one AllReduce of them all.
"""
from __future__ import annotations

import os

import numpy as np

import mindspore as ms
from mindspore import Tensor, ops
from mindspore.communication import GlobalComm, get_group_size, get_rank, init

_joined = False


def join() -> tuple[int, int]:
    """Compute together with others from now on: the group that the caller has initialised, or else the processes that
    msrun has started, if there are several. What `processes` then gives. The device has to be set before.

    Collectives run through HCCL on Ascend and through MindSpore's own between CPUs. msrun starts one more process with
    the same command, which brings the others together: it comes no further than here, and ends with them.
    """
    global _joined
    if not GlobalComm.INITED and "MS_ROLE" in os.environ and int(os.environ.get("MS_WORKER_NUM", 1)) > 1:
        init()
    _joined = GlobalComm.INITED
    return processes()


def processes() -> tuple[int, int]:
    """(rank, size): which of how many processes this one is; (0, 1) without `join`, whatever is initialised."""
    return (get_rank(), get_group_size()) if _joined and GlobalComm.INITED else (0, 1)


group = ms.constexpr(processes)
"""`processes`, as what graph mode compiles may ask for it."""


def everywhere(x: Tensor) -> Tensor:
    """x of every process, which has the same shape in all, by rank: (...) -> (R, ...)."""
    rank, size = group()
    parts = []
    for place in range(size):
        parts.append(x if place == rank else ops.zeros_like(x))
    return ops.AllReduce()(ops.stack(parts))


def gathered(x: Tensor, parts: int = 2) -> Tensor:
    """The rows of all processes, in the order of the whole batch: (n, ...) -> (R n, ...). The identity on one process.

    parts: of x, one after another, each of which is to be whole: 2, the normal and the abnormal half; 1, items in their order.
    """
    if group()[1] == 1:
        return x
    if x.dtype in (ms.int32, ms.int64):  # AllReduce has no kernel for integers on the CPU; exact below 2^24
        return gathered(x.astype(ms.float32), parts).astype(x.dtype)
    shares = everywhere(x.reshape((parts, -1) + x.shape[1:]))
    return shares.swapaxes(0, 1).reshape((-1,) + x.shape[1:])


def gather(array: np.ndarray) -> list[np.ndarray]:
    """The float array (n,) of every process, by rank; n may differ. float32 on the way."""
    rank, size = processes()
    if size == 1:
        return [array]
    ends = np.cumsum(everywhere(Tensor(len(array), ms.float32)).asnumpy().astype(np.int64))
    total = np.zeros(ends[-1], np.float32)
    total[ends[rank] - len(array):ends[rank]] = array
    return np.split(ops.AllReduce()(Tensor(total)).asnumpy().astype(array.dtype), ends[:-1])


def averaged(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """The mean of every gradient over all processes."""
    size = processes()[1]
    if size == 1:
        return gradients
    total = ops.AllReduce()(ops.cat([gradient.reshape(-1) for gradient in gradients.values()])) / size
    parts = ops.split(total, [gradient.size for gradient in gradients.values()])
    return {name: part.reshape(gradient.shape) for (name, gradient), part in zip(gradients.items(), parts)}
