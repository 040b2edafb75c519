"""The names that blocks have in published checkpoints, {canonical module: published module}."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

from .aggregation import PYRAMID_DILATIONS


def transformer(ours: str, theirs: str, depth: int) -> dict[str, str]:
    """The modules of a transformer, global-local or global, that is called `ours` here and `theirs` there."""
    names = {"attention.norm": "0.norm", "attention.qkvt": "0.fn.to_qkv", "attention.qkv": "0.fn.to_qkv",
             "attention.out": "0.fn.to_out.0",
             "feed_forward.norm": "1.norm", "feed_forward.linear1": "1.fn.net.0", "feed_forward.linear2": "1.fn.net.3"}
    return {f"{ours}.layers.{i}.{canonical}": f"{theirs}.layers.{i}.{published}"
            for i in range(depth) for canonical, published in names.items()}


def pyramid_aggregation(ours: str, theirs: str) -> dict[str, str]:
    """The modules of a pyramid aggregation that is called `ours` here and `theirs` there."""
    names = {}
    for i, d in enumerate(PYRAMID_DILATIONS, 1):
        names |= {f"scale{d}.conv": f"conv_{i}.0", f"scale{d}.norm": f"conv_{i}.2"}
    names |= {"reduce": "conv_4.0", "merge.conv": "conv_5.0", "merge.norm": "conv_5.2"}
    names |= {f"non_local.{name}": f"non_local.{name}" for name in ("g", "theta", "phi")}
    names |= {"non_local.out": "non_local.W.0", "non_local.norm": "non_local.W.1"}
    return {f"{ours}.{canonical}": f"{theirs}.{published}" for canonical, published in names.items()}


def by_module(modules: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """{published name: canonical name} of the tensors `names`, whose own names are the same in both."""
    parts = (name.rpartition(".") for name in names)
    return {f"{modules[module]}.{tensor}": f"{module}.{tensor}" for module, _, tensor in parts}
