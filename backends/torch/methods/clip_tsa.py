"""CLIP-TSA in PyTorch. The formulas are in `wvad_core.methods.clip_tsa`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wvad_core.blocks.crops import one_crop_each
from wvad_core.blocks.magnitude import items_at_a_time, with_crops
from wvad_core.methods import clip_tsa
from wvad_core.methods.clip_tsa import MOST_ATTENDED, Config

from ..blocks.crops import in_blocks
from ..blocks.linear import Linear
from ..blocks.magnitude import MagnitudeNetwork
from ..blocks.random import Noise


class TwoLayers(nn.Module):
    """linear(relu(linear(x))): the logits of the scorer, and of the projection."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.fc1, self.fc2 = Linear(inputs, hidden), Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class _Shares(torch.autograd.Function):
    """The mean of masks (I, n, T) over the samples, as a function of a (I, T): (I, T).

    Its gradient is the published one, in which the snippets are the other way round than in the estimator's.
    """

    @staticmethod
    def forward(a: Tensor, noise: Tensor, masks: Tensor, sigma: float) -> Tensor:
        return masks.mean(1)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        _, noise, masks, ctx.sigma = inputs
        ctx.save_for_backward(noise, masks)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        noise, masks = ctx.saved_tensors
        along = (noise * dy[:, None]).sum(-1, keepdim=True)  # sum_u Z[s, u] G_u
        return (masks * along).mean(1) / ctx.sigma, None, None, None


class Network(MagnitudeNetwork):
    def build_layers(self, config: Config) -> None:
        super().build_layers(config)
        self.attention, self.noise = TwoLayers(config.channels, config.scorer_dim, 1), Noise()
        self.projection = TwoLayers(config.feature_dim, *config.projection_dims) if config.projection else None

    def clips(self, features: Tensor) -> Tensor:
        """The attended features: (B, T, D) or (B, N, T, D) -> (B, N, T, C)."""
        videos, crops, steps, _ = with_crops(features).shape
        x, _ = one_crop_each(features)
        if self.projection is not None:
            x = self.by_items(self.projection, x).sigmoid()
        if not self.config.disable_HA:
            logits = self.logits_of_attention(x)
            shares = self.shares(logits) if self.training else self.shares_in_scoring(logits.view(videos, crops, steps))
            x = x * shares.view(*logits.shape, 1)
        return x.view(videos, crops, steps, -1)

    def logits_of_attention(self, x: Tensor) -> Tensor:
        """(I, T, C) -> (I, T); in float32 also in mixed precision, since snippets near to each other would change places."""
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.by_items(self.attention, x.float()).squeeze(-1)
        return self.by_items(self.attention, x).squeeze(-1)

    def by_items(self, layer: nn.Module, x: Tensor) -> Tensor:
        return in_blocks(layer, x, 0, len(x) if self.training else items_at_a_time(x.shape[1]))

    def shares(self, logits: Tensor) -> Tensor:
        """Of crops (I, T) in training."""
        config, steps = self.config, logits.shape[1]
        noise = self.noise(logits.detach()[:, None].expand(-1, config.num_samples, -1))
        k = torch.tensor([config.attended(steps)], device=logits.device)
        masks = largest(perturbed(logits.detach(), noise, config.sigma), k).to(logits.dtype)
        return _Shares.apply(logits.sigmoid(), noise, masks, config.sigma)

    def shares_in_scoring(self, logits: Tensor) -> Tensor:
        """Of crops (B, N, T)."""
        config, (crops, steps) = self.config, logits.shape[1:]
        if torch.compiler.is_compiling():
            return largest(logits, _attended_in_graph(config, crops, steps, logits)).to(logits.dtype)
        k = torch.tensor([config.attended_in_scoring(crops, steps)], device=logits.device)
        if not config.noise_samples:
            return largest(logits, k).to(logits.dtype)
        noise = (torch.from_numpy(z).to(logits.device, logits.dtype) for z in clip_tsa.noise_blocks(config, crops, steps))
        counts = sum(largest(perturbed(logits, z, config.sigma), k).sum(1) for z in noise)
        return (counts / config.noise_samples).to(logits.dtype)


def perturbed(logits: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """What is ranked with noise (I, n, T), or (n, N, T) of crops: of logits (I, T) or (B, N, T)."""
    return torch.where(noise.any(), logits.sigmoid()[:, None] + sigma * noise, logits[:, None])


def largest(values: Tensor, k: Tensor) -> Tensor:
    """Which of (..., T) are the K largest, K (1,): of equal ones the first. (..., T) bool."""
    least = values.sort(dim=-1, descending=True).values.index_select(-1, k - 1)
    above, level = values > least, values == least
    return above | level & (level.cumsum(-1) <= k - above.sum(-1, keepdim=True))


def _attended_in_graph(config: Config, crops: int, steps: int, like: Tensor) -> Tensor:
    """`config.attended_in_scoring`, (1,), where a graph leaves the sizes open."""
    if config.noise_samples:
        raise NotImplementedError(f"noise_samples = {config.noise_samples}: no graph draws the noise of a video, expected 0")
    crops, steps = (torch.full((1,), size, dtype=torch.float64, device=like.device) for size in (crops, steps))
    share = torch.tensor([config.k], dtype=torch.float64, device=like.device)  # a bare number would be of float32 in ONNX
    k = (share * steps).floor().clamp(min=1).minimum(steps)
    bounded = k.clamp(max=MOST_ATTENDED)
    return (bounded if config.projection else torch.where(crops == 1, bounded, k)).long()
