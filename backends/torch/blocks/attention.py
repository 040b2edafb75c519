"""The blocks of `wvad_core.blocks.attention` in PyTorch."""
from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.attention import check_positions, rotary_frequencies, window_block

from ..kernels import eager_cpu
from .convolution import over_time
from .linear import Linear
from .normalisation import LayerNorm

ATTENTION_BLOCK = 1 << 23  # attention weights held at a time
DECAY_MATRIX = 256  # snippets up to which the decay attention is a product with a T x T matrix on the CPU
DECAY_REACH = {torch.float64: 100}  # exp(-reach / e) is below the rounding of a dtype; 50 for all others


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(E)) v without a T x T matrix. q, k, v (B, H, T, E) -> (B, H, T, E).

    causal: the softmax of query i is over the keys j <= i alone.

    PyTorch's fused kernel, except for bfloat16 on the CPU: without matrix units that kernel is slower than products
    of a few hundred queries at a time.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    batch, heads, steps, width = q.shape
    items = max(1, ATTENTION_BLOCK // (heads * steps * steps))
    rows = max(1, ATTENTION_BLOCK // (min(items, batch) * heads * steps))
    q, keys, v = q * width**-0.5, k.contiguous().transpose(-1, -2), v.contiguous()
    out = torch.empty_like(q)
    for i in range(0, batch, items):
        for j in range(0, steps, rows):
            logits = q[i:i + items, :, j:j + rows] @ keys[i:i + items]
            if causal:
                logits = logits.masked_fill(torch.arange(j, j + logits.shape[2])[:, None] < torch.arange(steps), -torch.inf)
            out[i:i + items, :, j:j + rows] = logits.softmax(-1) @ v[i:i + items]
    return out


def decay_attention(t: Tensor) -> Tensor:
    """out_i = sum_j exp(-|i - j| / e) / s_j t_j, s_j = sum_i exp(-|i - j| / e). t (B, T, C) -> (B, T, C).

    The weights fall below rounding within `reach` snippets, so the product is one depthwise convolution: O(T). On the
    CPU a short video's is faster as a product: 7 against 10 ms for 32 videos of 200 (AVX-512), 7 against 13 (AVX2).
    """
    steps, channels = t.shape[1:]
    if eager_cpu(t) and steps <= DECAY_MATRIX:
        return _decay_weights(steps).to(t.dtype) @ t
    reach = DECAY_REACH.get(t.dtype, 50)
    offsets = torch.arange(-reach, reach + 1, device=t.device, dtype=torch.float64)
    taps = torch.exp(-offsets.abs() / math.e)
    u = t / _decay_sums(steps, t.device).to(t.dtype)[:, None]
    return over_time(u, taps.to(t.dtype).expand(channels, 1, -1), groups=channels)


def _decay_weights(steps: int) -> Tensor:
    """The matrix of the weights, (T, T) float64 on the CPU."""
    places = torch.arange(steps, dtype=torch.float64)
    weights = torch.exp(-(places[:, None] - places).abs() / math.e)
    return weights / weights.sum(0)


def _decay_sums(steps: int, device: torch.device) -> Tensor:
    j, r = torch.arange(steps, device=device, dtype=torch.float64), math.exp(-1 / math.e)
    return (1 + r - r ** (j + 1) - r ** (steps - j)) / (1 - r)


def windowed_attention(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """softmax over |i - j| <= window, with the published quirks. q, k, v (B, T, H, E) -> (B, T, H, E).

    A block of queries at a time, which meets its own keys and `window` more on each side: O(T).
    """
    steps, size = q.shape[1], window_block(window)
    # of a single block PyTorch would make a graph for videos of a single block: it gets an empty one more
    blocks = (steps + size * (2 if torch.compiler.is_compiling() else 1) - 1) // size
    behind = blocks * size - steps
    places = torch.arange(steps, device=q.device)
    q, k = _rotated(q * q.shape[-1] ** -0.5, places + window), _rotated(k, places)
    q, k, v = (F.pad(x, (0, 0, 0, 0, 0, behind)).unflatten(1, (blocks, size)) for x in (q, k, v))
    k, v = (_with_neighbours(x, window).transpose(2, 3) for x in (k, v))
    logits = q.transpose(2, 3) @ k.transpose(-1, -2)  # (B, blocks, H, size, size + 2 window)
    allowed = _allowed(blocks, size, window, (steps + window - 1) // window * window, q.device)
    weights = logits.masked_fill(~allowed[:, None], -1e30).softmax(-1)
    return F.pad((weights @ v).transpose(2, 3).flatten(1, 2), (0, 0, 0, 0, 0, -behind))


def _with_neighbours(x: Tensor, window: int) -> Tensor:
    """Each block with `window` snippets on either side, zeros outside. (B, blocks, size, H, E)."""
    blocks = (0, 0) * 3  # padding by 1 and -1 moves them by one
    before, after = F.pad(x[:, :, -window:], (*blocks, 1, -1)), F.pad(x[:, :, :window], (*blocks, -1, 1))
    return torch.cat([before, x, after], dim=2)


def _allowed(blocks: int, size: int, window: int, filled: int, device: torch.device) -> Tensor:
    """Which keys each query meets, (blocks, size, size + 2 window): those within the window and the `filled` length."""
    i = torch.arange(size, device=device)[:, None]
    j = torch.arange(-window, size + window, device=device)
    there = j + size * torch.arange(blocks, device=device)[:, None, None]
    return ((i - j).abs() <= window) & (there >= 0) & (there < filled)


def _rotated(x: Tensor, places: Tensor) -> Tensor:
    """Rotary positions: dimensions m and m + E / 2 turned by places * 10000^(-2 m / E). x (B, T, H, E)."""
    frequencies = torch.from_numpy(rotary_frequencies(x.shape[-1])).to(x.device)
    angles = places[:, None, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class LocalAttention(nn.Module):
    """Multi-head attention to the snippets within `window`. x (B, T, C) -> (B, T, C)."""

    def __init__(self, channels: int, heads: int, head_dim: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.norm = LayerNorm(channels)
        self.qkv = Linear(channels, 3 * heads * head_dim, bias=False)
        self.out = Linear(heads * head_dim, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, steps, 3, self.heads, -1).unbind(2)
        return self.out(windowed_attention(q, k, v, self.window).reshape(batch, steps, -1))


class PositionEmbedding(nn.Module):
    """x plus a learned vector for each place in the video. x (B, T, C) -> (B, T, C)."""

    def __init__(self, positions: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(positions, channels))

    def forward(self, x: Tensor) -> Tensor:
        check_positions(x.shape[1], len(self.weight))
        return x + self.weight[:x.shape[1]]
