"""The blocks of `wvad_core.blocks.context_attention` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.attention import window_block

from .linear import Linear, linear

CONTEXT_BLOCK = 1 << 22  # terms of the distance, of a block of queries, held at a time
FAR = -1e30


class Position(nn.Module):
    """exp(-|w d^2 - b|) of the squares of distances, d^2 (...)."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.empty(1)), nn.Parameter(torch.empty(1))

    def forward(self, squares: Tensor) -> Tensor:
        return torch.exp(-(self.w * squares.to(self.w.dtype) - self.b).abs())


class ContextAttention(nn.Module):
    """The context y of x, before `out`. x (B, T, C) -> (B, T, E)."""

    def __init__(self, channels: int, width: int, window: int):
        super().__init__()
        self.q, self.k, self.v = Linear(channels, width), Linear(channels, width), Linear(channels, width)
        self.out, self.position, self.alpha = Linear(width, channels), Position(), nn.Parameter(torch.empty(()))
        self.before, self.after = window // 2, window - window // 2 - 1

    def forward(self, x: Tensor) -> Tensor:
        maps = (self.q, self.k, self.v)
        together = linear(x, torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps]))
        q, k, v = together.chunk(3, dim=-1)
        q, share = q * q.shape[-1] ** -0.5, torch.sigmoid(self.alpha)
        if torch.compiler.is_compiling():  # whole, for any length
            return self._whole(q, k, v, share)
        return share * self._everywhere(q, k, v) + (1 - share) * self._nearby(q, k, v)

    def _whole(self, q: Tensor, k: Tensor, v: Tensor, share: Tensor) -> Tensor:
        places = torch.arange(q.shape[1], device=q.device)
        apart = places - places[:, None]
        logits = q @ k.transpose(1, 2) + self.position(apart.square())
        near = logits.masked_fill((apart < -self.before) | (apart > self.after), FAR)
        return (share * logits.softmax(-1) + (1 - share) * near.softmax(-1)) @ v

    def _everywhere(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """G v, for a block of queries at a time: in evaluation by PyTorch's fused kernel, which has no derivative by the
        term, and is slow in bfloat16 on the CPU."""
        steps, parts = q.shape[1], []
        fused = not torch.is_grad_enabled() and (q.device.type, q.dtype) != ("cpu", torch.bfloat16)
        term = self.position(torch.arange(steps, device=q.device).square()).to(q.dtype)
        terms = torch.cat([term.flip(0)[:-1], term]).unfold(0, steps, 1)  # row i is that of query T - 1 - i; a view
        rows = max(1, CONTEXT_BLOCK // steps)
        for start in range(0, steps, rows):
            own = q[:, start:start + rows]
            of_own = terms[max(steps - start - rows, 0):steps - start].flip(0)
            if fused:
                heads = own[:, None], k[:, None], v[:, None]
                parts.append(F.scaled_dot_product_attention(*heads, attn_mask=of_own, scale=1.0).squeeze(1))
            else:
                parts.append(torch.baddbmm(of_own, own, k.transpose(1, 2)).softmax(-1) @ v)
        return torch.cat(parts, 1)

    def _nearby(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """N v, for blocks of queries, each of which meets its own keys and the nearest ones on either side."""
        batch, steps, width = q.shape
        size = window_block(max(self.before, self.after))
        behind, keys = -steps % size, size + self.before + self.after
        apart = torch.arange(keys, device=q.device) - self.before - torch.arange(size, device=q.device)[:, None]
        term = self.position(apart.square()).masked_fill((apart < -self.before) | (apart > self.after), FAR)
        q = F.pad(q, (0, 0, 0, behind)).unflatten(1, (-1, size))
        more = (0, 0, self.before, self.after + behind)
        k, v = (F.pad(x, more).unfold(1, keys, size) for x in (k, v))  # (B, blocks, E, keys)
        places = size * torch.arange(q.shape[1], device=q.device)[:, None] + torch.arange(keys, device=q.device)
        outside = ((places < self.before) | (places >= self.before + steps))[:, None]
        weights = (q @ k + term.to(q.dtype)).masked_fill(outside, FAR).softmax(-1)
        return (weights @ v.transpose(2, 3)).reshape(batch, -1, width)[:, :steps]


def power_norm(y: Tensor) -> Tensor:
    """r = sign(y) sqrt|y|, divided by its L2 norm over time; the derivative of r at y = 0 is 0. (B, T, E)."""
    return F.normalize(y.sign() * y.abs().where(y != 0, 1).sqrt(), dim=1)
