"""The layers of `wvad_core.layers` in MindSpore. Sequences are channel-last, (B, T, C); tensors have the same names.

MindSpore's CPU kernels for convolutions of kernel > 1 are reference code, hundreds of times slower than its matrix
product, so on the CPU a convolution gathers its windows and multiplies. Ascend and GPU take the native kernel.
"""
from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from wvad_core.layers import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, LAYER_NORM_EPS, PYRAMID_DILATIONS, decay_sums

DECAY_BLOCK = 64  # exp(-64 / e) is below float32's rounding
ATTENTION_BLOCK = 1 << 22  # attention weights held at a time


def _zeros(*shape: int) -> Parameter:
    """A parameter to be filled by `load_weights`, or by the caller."""
    return Parameter(Tensor(np.zeros(shape, np.float32)))


class Linear(nn.Cell):
    """x (..., I) -> (..., O). On the CPU a product and a BiasAdd are twice as fast as `ops.dense`."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = _zeros(outputs, inputs)
        self.bias = _zeros(outputs) if bias else None
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        y = self.product(x.reshape(-1, x.shape[-1]), self.weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(x.shape[:-1] + (-1,))


class Conv1d(nn.Cell):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O). Weight (O, I, K) as PyTorch's."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__()
        self.weight = _zeros(outputs, inputs, kernel)
        self.bias = _zeros(outputs) if bias else None
        self.kernel, self.dilation, self.pad = kernel, dilation, dilation * (kernel // 2)
        self.native = ms.get_context("device_target") != "CPU"
        self.product, self.add = ops.MatMul(transpose_b=True), ops.BiasAdd()

    def construct(self, x: Tensor) -> Tensor:
        if self.native:
            y = ops.conv1d(x.swapaxes(1, 2), self.weight, self.bias, pad_mode="pad", padding=self.pad,
                           dilation=self.dilation)
            return y.swapaxes(1, 2)
        batch, steps, inputs = x.shape
        windows = x
        if self.kernel > 1:
            ends = ops.zeros((batch, self.pad, inputs), x.dtype)
            places = _conv_places(steps, self.kernel, self.dilation)
            windows = ops.gather(ops.cat((ends, x, ends), 1), places, 1)  # (B, T * K, I)
        weight = self.weight.transpose(0, 2, 1).reshape(self.weight.shape[0], -1)
        y = self.product(windows.reshape(batch * steps, -1), weight)
        if self.bias is not None:
            y = self.add(y, self.bias)
        return y.reshape(batch, steps, -1)


@ms.constexpr
def _conv_places(steps: int, kernel: int, dilation: int) -> Tensor:
    """Where in the padded sequence the windows lie, (T * K,)."""
    return Tensor((np.arange(steps)[:, None] + dilation * np.arange(kernel)).reshape(-1).astype(np.int32))


class BatchNorm(nn.Cell):
    """x (..., C), statistics per channel over all other axes; names and counter as in PyTorch."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), _zeros(channels)
        self.running_mean = Parameter(Tensor(np.zeros(channels, np.float32)), requires_grad=False)
        self.running_var = Parameter(Tensor(np.ones(channels, np.float32)), requires_grad=False)
        self.num_batches_tracked = Parameter(Tensor(np.array(0, np.int64)), requires_grad=False)

    def construct(self, x: Tensor) -> Tensor:
        if not self.training:
            scale = self.weight / ops.sqrt(self.running_var + BATCH_NORM_EPS)
            return (x - self.running_mean) * scale + self.bias
        flat = x.reshape(-1, x.shape[-1])
        mean = flat.mean(0)
        centred = flat - mean
        variance = (centred * centred).mean(0)
        self.record(mean, variance, flat.shape[0])
        return (centred / ops.sqrt(variance + BATCH_NORM_EPS) * self.weight + self.bias).reshape(x.shape)

    def record(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards the batch's, the variance unbiased."""
        unbiased = variance * (count / max(count - 1, 1))
        ops.assign(self.running_mean, self.running_mean + BATCH_NORM_MOMENTUM * (mean - self.running_mean))
        ops.assign(self.running_var, self.running_var + BATCH_NORM_MOMENTUM * (unbiased - self.running_var))
        ops.assign(self.num_batches_tracked, self.num_batches_tracked + 1)


class LayerNorm(nn.Cell):
    def __init__(self, channels: int):
        super().__init__()
        self.weight, self.bias = Parameter(Tensor(np.ones(channels, np.float32))), _zeros(channels)
        self.normalise = ops.LayerNorm(-1, -1, LAYER_NORM_EPS)

    def construct(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.weight, self.bias)[0]


def gelu(x: Tensor) -> Tensor:
    """x * Phi(x), exact."""
    return x * ((ops.erf(x * math.sqrt(0.5)) + 1) * 0.5)


class SoftmaxAttention(nn.Cell):
    """softmax(q k^T / sqrt(E)) v for a block of queries at a time. q, k, v (G, T, E) -> (G, T, E)."""

    def __init__(self) -> None:
        super().__init__()
        self.similarity, self.softmax, self.sum = ops.BatchMatMul(transpose_b=True), ops.Softmax(-1), ops.BatchMatMul()

    def construct(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        groups, steps, width = q.shape
        if steps == 1:  # the softmax is 1; and MindSpore 2.10, once it differentiated such a one, errs on all others
            return v
        q = q * width**-0.5
        together, rows = max(1, ATTENTION_BLOCK // (steps * steps)), min(steps, max(1, ATTENTION_BLOCK // steps))
        blocks = []
        for g in range(0, groups, together):
            keys, values = k[g:g + together], v[g:g + together]
            parts = []
            for i in range(0, steps, rows):
                logits = self.similarity(q[g:g + together, i:i + rows], keys)
                parts.append(self.sum(self.softmax(logits), values))
            blocks.append(ops.cat(parts, 1))
        return ops.cat(blocks, 0)


class DecayAttention(nn.Cell):
    """out_i = sum_j exp(-|i - j| / e) / s_j t_j, s_j = sum_i exp(-|i - j| / e). t (B, T, C) -> (B, T, C).

    The weights fall below rounding within a block of 64 snippets, so each block of outputs needs its own and the two
    neighbouring blocks of inputs: O(T).
    """

    def __init__(self) -> None:
        super().__init__()
        self.product = ops.BatchMatMul()

    def construct(self, t: Tensor) -> Tensor:
        batch, steps, channels = t.shape
        weights, places = _decay_blocks(steps)
        blocks = weights.shape[0]
        front = ops.zeros((batch, DECAY_BLOCK, channels), t.dtype)
        back = ops.zeros((batch, (blocks + 1) * DECAY_BLOCK - steps, channels), t.dtype)
        windows = ops.gather(ops.cat((front, t, back), 1), places, 1)  # (B, blocks * 3 * 64, C)
        windows = windows.reshape(batch * blocks, 3 * DECAY_BLOCK, channels)
        out = self.product(ops.tile(weights, (batch, 1, 1)), windows)
        return out.reshape(batch, blocks * DECAY_BLOCK, channels)[:, :steps]


@ms.constexpr
def _decay_blocks(steps: int) -> tuple[Tensor, Tensor]:
    """The weights of each block of outputs (blocks, 64, 3 * 64), and where its inputs lie (blocks * 3 * 64,)."""
    count, size = -(-steps // DECAY_BLOCK), DECAY_BLOCK
    places = size * np.arange(count)[:, None] + np.arange(3 * size)  # in the padded sequence: input j lies at j + size
    near = np.exp(-np.abs(size + np.arange(size)[:, None] - np.arange(3 * size)) / math.e)
    sums = np.pad(decay_sums(steps), (size, (count + 1) * size - steps), constant_values=1)
    return Tensor((near / sums[places][:, None]).astype(np.float32)), Tensor(places.reshape(-1).astype(np.int32))


class GlobalLocalAttention(nn.Cell):
    """Each head's softmax attention and decay attention side by side, merged. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = heads, head_dim
        self.norm = LayerNorm(channels)
        self.qkvt = Linear(channels, 4 * heads * head_dim, bias=False)
        self.out = Linear(2 * heads * head_dim, channels)
        self.far, self.near = SoftmaxAttention(), DecayAttention()

    def construct(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        inner, shape = self.heads * self.head_dim, (batch, steps, self.heads, self.head_dim)
        q, k, v, t = self.qkvt(self.norm(x)).split(inner, -1)
        groups = (batch * self.heads, steps, self.head_dim)
        q, k, v = [part.reshape(shape).transpose(0, 2, 1, 3).reshape(groups) for part in (q, k, v)]
        far = self.far(q, k, v).reshape(batch, self.heads, steps, self.head_dim).transpose(0, 2, 1, 3)
        both = ops.cat((far, self.near(t).reshape(shape)), -1)
        return self.out(both.reshape(batch, steps, 2 * inner))


class FeedForward(nn.Cell):
    """norm, linear, exact GELU, dropout, linear. x (..., C) -> (..., C)."""

    def __init__(self, channels: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(channels)
        self.linear1, self.linear2 = Linear(channels, hidden), Linear(hidden, channels)
        self.dropout = nn.Dropout(p=dropout)

    def construct(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(gelu(self.linear1(self.norm(x)))))


class TransformerLayer(nn.Cell):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, channels: int, heads: int, head_dim: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = GlobalLocalAttention(channels, heads, head_dim)
        self.feed_forward = FeedForward(channels, hidden, dropout)
        self.dropout = nn.Dropout(p=dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(x))
        return x + self.dropout(self.feed_forward(x))


class Transformer(nn.Cell):
    """`depth` global-local layers. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, depth: int, heads: int, head_dim: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.CellList([TransformerLayer(channels, heads, head_dim, hidden, dropout)
                                   for _ in range(depth)])

    def construct(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class NonLocal(nn.Cell):
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j, as theta (phi^T g / T). x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.g = Conv1d(channels, channels // 2, 1)
        self.theta = Conv1d(channels, channels // 2, 1)
        self.phi = Conv1d(channels, channels // 2, 1)
        self.out, self.norm = Conv1d(channels // 2, channels, 1), BatchNorm(channels)
        self.inner, self.product = ops.BatchMatMul(transpose_a=True), ops.BatchMatMul()

    def construct(self, x: Tensor) -> Tensor:
        summed = self.inner(self.phi(x), self.g(x)) / x.shape[1]
        return x + self.norm(self.out(self.product(self.theta(x), summed)))


class Scale(nn.Cell):
    """Conv1d of kernel 3, ReLU, BatchNorm, in that order."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, bias: bool = True):
        super().__init__()
        self.conv, self.norm = Conv1d(inputs, outputs, 3, dilation, bias), BatchNorm(outputs)

    def construct(self, x: Tensor) -> Tensor:
        return self.norm(ops.relu(self.conv(x)))


class PyramidAggregation(nn.Cell):
    """Convolutions of dilation 1, 2, 4 and a non-local block, merged and added to the input. x (B, T, D)."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale1, self.scale2, self.scale4 = [Scale(channels, channels // 4, d) for d in PYRAMID_DILATIONS]
        self.reduce, self.non_local = Conv1d(channels, channels // 4, 1, bias=False), NonLocal(channels // 4)
        self.merge = Scale(channels, channels, bias=False)

    def construct(self, x: Tensor) -> Tensor:
        around = self.non_local(ops.relu(self.reduce(x)))
        return x + self.merge(ops.cat((self.scale1(x), self.scale2(x), self.scale4(x), around), -1))


class ScoreHead(nn.Cell):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(hidden[0], hidden[1]), Linear(hidden[1], 1)
        self.dropout = nn.Dropout(p=dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = self.dropout(ops.relu(self.fc1(x)))
        x = self.dropout(ops.relu(self.fc2(x)))
        return ops.sigmoid(self.fc3(x)).squeeze(-1)
