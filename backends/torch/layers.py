"""The layers of `wvad_core.layers` in PyTorch. Sequences are channel-last, (B, T, C); tensors have the same names.

On the CPU, products run as convolutions of kernel 1: oneDNN, which computes those, is up to half as fast again as the
BLAS behind `torch.nn.functional.linear` on processors that are not Intel's, and equal on those that are.
"""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wvad_core.layers import LAYER_NORM_EPS, PYRAMID_DILATIONS

ATTENTION_BLOCK = 1 << 23  # attention weights held at a time
DECAY_REACH = {torch.float64: 100}  # exp(-reach / e) is below the rounding of a dtype; 50 for all others


def _eager_cpu(x: Tensor) -> bool:
    """Whether oneDNN computes: not on CUDA, in float64, or in a graph that PyTorch compiles or exports."""
    return x.device.type == "cpu" and x.dtype != torch.float64 and not torch.compiler.is_compiling()


class Linear(nn.Linear):
    """x (..., I) -> (..., O)."""

    def forward(self, x: Tensor) -> Tensor:
        if not _eager_cpu(x):
            return F.linear(x, self.weight, self.bias)
        rows = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
        y = F.conv2d(rows, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class Conv1d(nn.Conv1d):
    """Convolution over time that keeps the length: x (B, T, I) -> (B, T, O)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1, bias: bool = True):
        super().__init__(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return _over_time(x, self.weight, self.bias, self.dilation[0])


def _over_time(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1, groups: int = 1) -> Tensor:
    """A convolution of (B, T, I); on the CPU as one of channels-last images of width 1, which needs no transposed copy."""
    padding = dilation * (weight.shape[-1] // 2)
    if not _eager_cpu(x):
        return F.conv1d(x.transpose(1, 2), weight, bias, 1, padding, dilation, groups).transpose(1, 2)
    image = x.reshape(len(x), -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    y = F.conv2d(image, weight[..., None], bias, 1, (padding, 0), (dilation, 1), groups)
    return y.squeeze(-1).transpose(1, 2)


class BatchNorm(nn.BatchNorm1d):
    """x (B, T, C), statistics per channel over B and T."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class LayerNorm(nn.LayerNorm):
    def __init__(self, channels: int):
        super().__init__(channels, eps=LAYER_NORM_EPS)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(E)) v without a T x T matrix. q, k, v (B, H, T, E) -> (B, H, T, E).

    PyTorch's fused kernel, except for bfloat16 on the CPU: without matrix units that kernel is slower than products
    of a few hundred queries at a time.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v)
    batch, heads, steps, width = q.shape
    items = max(1, ATTENTION_BLOCK // (heads * steps * steps))
    rows = max(1, ATTENTION_BLOCK // (min(items, batch) * heads * steps))
    q, keys, v = q * width**-0.5, k.contiguous().transpose(-1, -2), v.contiguous()
    out = torch.empty_like(q)
    for i in range(0, batch, items):
        for j in range(0, steps, rows):
            logits = q[i:i + items, :, j:j + rows] @ keys[i:i + items]
            out[i:i + items, :, j:j + rows] = logits.softmax(-1) @ v[i:i + items]
    return out


def decay_attention(t: Tensor) -> Tensor:
    """out_i = sum_j exp(-|i - j| / e) / s_j t_j, s_j = sum_i exp(-|i - j| / e). t (B, T, C) -> (B, T, C).

    The weights fall below rounding within `reach` snippets, so the product is one depthwise convolution: O(T).
    """
    steps, channels = t.shape[1:]
    reach = DECAY_REACH.get(t.dtype, 50)
    offsets = torch.arange(-reach, reach + 1, device=t.device, dtype=torch.float64)
    taps = torch.exp(-offsets.abs() / math.e)
    u = t / _decay_sums(steps, t.device).to(t.dtype)[:, None]
    return _over_time(u, taps.to(t.dtype).expand(channels, 1, -1), groups=channels)


def _decay_sums(steps: int, device: torch.device) -> Tensor:
    j, r = torch.arange(steps, device=device, dtype=torch.float64), math.exp(-1 / math.e)
    return (1 + r - r ** (j + 1) - r ** (steps - j)) / (1 - r)


class GlobalLocalAttention(nn.Module):
    """Each head's softmax attention and decay attention side by side, merged. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.norm = LayerNorm(channels)
        self.qkvt = Linear(channels, 4 * heads * head_dim, bias=False)
        self.out = Linear(2 * heads * head_dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        q, k, v, t = self.qkvt(self.norm(x)).view(batch, steps, 4, self.heads, -1).unbind(2)  # each (B, T, H, E)
        near = decay_attention(t.reshape(batch, steps, -1)).view(t.shape)
        far = softmax_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
        del q, k, v, t  # a long video's are the largest tensors there are
        return self.out(torch.cat([far, near], dim=-1).view(batch, steps, -1))


class FeedForward(nn.Module):
    """norm, linear, exact GELU, dropout, linear. x (..., C) -> (..., C)."""

    def __init__(self, channels: int, hidden: int, dropout: float):
        super().__init__()
        self.norm = LayerNorm(channels)
        self.linear1, self.linear2 = Linear(channels, hidden), Linear(hidden, channels)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.gelu(self.linear1(self.norm(x)))))


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, channels: int, heads: int, head_dim: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = GlobalLocalAttention(channels, heads, head_dim)
        self.feed_forward = FeedForward(channels, hidden, dropout)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(x))
        return x + self.dropout(self.feed_forward(x))


class Transformer(nn.Module):
    """`depth` global-local layers. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, depth: int, heads: int, head_dim: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.layers = nn.ModuleList(TransformerLayer(channels, heads, head_dim, hidden, dropout)
                                    for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class NonLocal(nn.Module):
    """x + norm(W y), y_i = sum_j (theta_i . phi_j / T) g_j, as theta (phi^T g / T). x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.g, self.theta, self.phi = (Conv1d(channels, channels // 2, 1) for _ in range(3))
        self.out, self.norm = Conv1d(channels // 2, channels, 1), BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        summed = self.phi(x).transpose(1, 2) @ self.g(x) / x.shape[1]
        return x + self.norm(self.out(self.theta(x) @ summed))


class Scale(nn.Module):
    """Conv1d of kernel 3, ReLU, BatchNorm, in that order."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1, bias: bool = True):
        super().__init__()
        self.conv, self.norm = Conv1d(inputs, outputs, 3, dilation, bias), BatchNorm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(F.relu(self.conv(x)))


class PyramidAggregation(nn.Module):
    """Convolutions of dilation 1, 2, 4 and a non-local block, merged and added to the input. x (B, T, D)."""

    def __init__(self, channels: int):
        super().__init__()
        for d in PYRAMID_DILATIONS:
            self.add_module(f"scale{d}", Scale(channels, channels // 4, d))
        self.reduce, self.non_local = Conv1d(channels, channels // 4, 1, bias=False), NonLocal(channels // 4)
        self.merge = Scale(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        scales = [self.get_submodule(f"scale{d}")(x) for d in PYRAMID_DILATIONS]
        around = self.non_local(F.relu(self.reduce(x)))
        return x + self.merge(torch.cat([*scales, around], dim=-1))


class ScoreHead(nn.Module):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(*hidden), Linear(hidden[1], 1)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return torch.sigmoid(self.fc3(x)).squeeze(-1)
