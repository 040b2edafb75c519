"""The transformer: pre-norm layers of attention, global and local or global alone, and a feed-forward network."""
from __future__ import annotations

import numpy as np

from .activations import gelu
from .attention import decay_attention, softmax_attention
from .linear import linear, linear_parameters
from .normalisation import layer_norm, layer_norm_parameters
from .random import dropout
from .tensors import Array, Scope


def global_local_attention(x: Array, p: Scope, heads: int) -> Array:
    """Each head's softmax attention and decay attention side by side, merged (Zhou et al. 2023, arXiv:2302.05160).

    x (B, T, C). One bias-free projection gives q, k, v, t in this order, each as `heads` contiguous blocks.
    """
    batch, steps, _ = x.shape
    projected = linear(x, **p.at("qkvt")).reshape(batch, steps, 4, heads, -1)
    q, k, v = np.moveaxis(projected[:, :, :3], (2, 3), (0, 2))  # each (B, H, T, E)
    near = decay_attention(projected[:, :, 3].reshape(batch, steps, -1)).reshape(batch, steps, heads, -1)
    both = np.concatenate([softmax_attention(q, k, v).swapaxes(1, 2), near], axis=-1)  # (B, T, H, 2E)
    return linear(both.reshape(batch, steps, -1), **p.at("out"))


def global_attention(x: Array, p: Scope, heads: int) -> Array:
    """Multi-head softmax attention. x (B, T, C). One bias-free projection gives q, k, v, heads contiguous."""
    batch, steps, _ = x.shape
    q, k, v = np.moveaxis(linear(x, **p.at("qkv")).reshape(batch, steps, 3, heads, -1), (2, 3), (0, 2))
    return linear(softmax_attention(q, k, v).swapaxes(1, 2).reshape(batch, steps, -1), **p.at("out"))


def transformer(x: Array, p: Scope, depth: int, heads: int, drop: float = 0.0, local: bool = True) -> Array:
    """`depth` pre-norm layers: x + attention(norm(x)), then x + feed_forward(norm(x)). x (B, T, C) -> (B, T, C).

    The attention is global and local, or with local=False global alone.
    """
    attention = global_local_attention if local else global_attention
    for i in range(depth):
        a, f = p.at("layers").at(i).at("attention"), p.at("layers").at(i).at("feed_forward")
        x = x + dropout(attention(layer_norm(x, **a.at("norm")), a, heads), drop, p.rng)
        hidden = dropout(gelu(linear(layer_norm(x, **f.at("norm")), **f.at("linear1"))), drop, p.rng)
        x = x + dropout(linear(hidden, **f.at("linear2")), drop, p.rng)
    return x


def transformer_parameters(channels: int, depth: int, heads: int, head_dim: int, feed_forward: int, local: bool = True) -> dict:
    inner = heads * head_dim
    parts = {"qkvt": linear_parameters(channels, 4 * inner, bias=False), "out": linear_parameters(2 * inner, channels)} if local else {
        "qkv": linear_parameters(channels, 3 * inner, bias=False), "out": linear_parameters(inner, channels)}
    layer = {"attention": {"norm": layer_norm_parameters(channels)} | parts,
             "feed_forward": {"norm": layer_norm_parameters(channels), "linear1": linear_parameters(channels, feed_forward),
                              "linear2": linear_parameters(feed_forward, channels)}}
    return {"layers": {str(i): layer for i in range(depth)}}


def transformer_names(ours: str, theirs: str, depth: int) -> dict[str, str]:
    """The modules of a transformer, global-local or global, that is called `ours` here and `theirs` there."""
    names = {"attention.norm": "0.norm", "attention.qkvt": "0.fn.to_qkv", "attention.qkv": "0.fn.to_qkv",
             "attention.out": "0.fn.to_out.0",
             "feed_forward.norm": "1.norm", "feed_forward.linear1": "1.fn.net.0", "feed_forward.linear2": "1.fn.net.3"}
    return {f"{ours}.layers.{i}.{canonical}": f"{theirs}.layers.{i}.{published}"
            for i in range(depth) for canonical, published in names.items()}
