"""CLIP's residual attention block (Radford et al. 2021), of which its towers are made, and other transformers.

    x = x + attention(ln_1(x)),     x = x + mlp(ln_2(x)),     mlp(x) = c_proj(quick_gelu(c_fc(x)))

attention is multi-head softmax attention as PyTorch's MultiheadAttention has it: q, k and v packed, heads contiguous.
"""
from __future__ import annotations

from .activations import quick_gelu
from .attention import earlier, softmax_attention
from .linear import linear, linear_parameters
from .normalisation import layer_norm, layer_norm_parameters
from .tensors import Array, Parameter, Scope, flatten

MLP = 4
"""Times as many channels between the two layers of a block."""


def packed_attention(x: Array, p: Scope, heads: int, causal: bool = False) -> Array:
    """Multi-head softmax attention. causal: to oneself and what comes before alone. x (B, T, C) -> (B, T, C)."""
    batch, tokens, _ = x.shape
    qkv = linear(x, p["in_proj_weight"], p["in_proj_bias"])
    q, k, v = qkv.reshape(batch, tokens, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    together = softmax_attention(q, k, v, earlier(tokens, x.dtype) if causal else None).swapaxes(1, 2).reshape(batch, tokens, -1)
    return linear(together, **p.at("out_proj"))


def feed_forward(x: Array, p: Scope) -> Array:
    """Two layers with the quick GELU between them. (..., C) -> (..., C)."""
    return linear(quick_gelu(linear(x, **p.at("c_fc"))), **p.at("c_proj"))


def residual_block(x: Array, p: Scope, heads: int, causal: bool = False) -> Array:
    """x (B, T, C) -> (B, T, C)."""
    x = x + packed_attention(layer_norm(x, **p.at("ln_1")), p.at("attn"), heads, causal)
    return x + feed_forward(layer_norm(x, **p.at("ln_2")), p.at("mlp"))


def feed_forward_parameters(width: int) -> dict:
    return {"c_fc": linear_parameters(width, MLP * width), "c_proj": linear_parameters(MLP * width, width)}


def residual_block_parameters(width: int) -> dict:
    return {"ln_1": layer_norm_parameters(width), "ln_2": layer_norm_parameters(width),
            "attn": {"in_proj_weight": Parameter((3 * width, width), width**-0.5), "in_proj_bias": Parameter((3 * width,)),
                     "out_proj": linear_parameters(width, width)},
            "mlp": feed_forward_parameters(width)}


BLOCK_TENSORS = tuple(flatten(residual_block_parameters(1)))
"""The names of a block's tensors."""
