"""The blocks of `wvad_core.blocks.context_attention` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear, linear

CONTEXT_BLOCK = 1 << 20  # attention weights held at a time


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
        batch, steps, _ = x.shape
        if torch.compiler.is_compiling():  # whole, for any length
            places = torch.arange(steps, device=x.device)
            return self._seen(q, k, v, self.position((places[:, None] - places).square()), share, places, places)
        term = self.position(torch.arange(steps, device=x.device).square())
        terms = torch.cat([term.flip(0)[:-1], term]).unfold(0, steps, 1)  # row i is that of query T - 1 - i; a view
        items, rows = max(1, CONTEXT_BLOCK // steps**2), max(1, min(steps, CONTEXT_BLOCK // steps))
        return torch.cat([torch.cat([
            self._seen(q[i:i + items, j:j + rows], k[i:i + items], v[i:i + items],
                      terms[max(steps - j - rows, 0):steps - j].flip(0), share, *self._places(j, rows, steps, x.device))
            for j in range(0, steps, rows)], 1) for i in range(0, batch, items)])

    def _places(self, start: int, rows: int, steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Those of a block of queries, and of all the snippets that are near any of them."""
        end = min(start + rows, steps)
        low, high = max(0, start - self.before), min(steps, end + self.after)
        return torch.arange(start, end, device=device), torch.arange(low, high, device=device)

    def _seen(self, q: Tensor, k: Tensor, v: Tensor, term: Tensor, share: Tensor, queries: Tensor,
             around: Tensor) -> Tensor:
        """The contexts of some queries, (B, R, E), at these places. k, v (B, T, E), term (R, T). around: as `_places` has it."""
        logits = torch.baddbmm(term.to(q.dtype), q, k.transpose(1, 2))
        apart = around - queries[:, None]
        near, values = (logits, v) if queries is around else (logits[..., around], v[:, around])
        near = near.masked_fill((apart < -self.before) | (apart > self.after), -torch.inf)
        return share * (logits.softmax(-1) @ v) + (1 - share) * (near.softmax(-1) @ values)


def power_norm(y: Tensor) -> Tensor:
    """r = sign(y) sqrt|y|, divided by its L2 norm over time; the derivative of r at y = 0 is 0. (B, T, E)."""
    return F.normalize(y.sign() * y.abs().where(y != 0, 1).sqrt(), dim=1)
