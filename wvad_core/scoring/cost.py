"""How large a method is: its parameters, and the multiply-accumulates that a score takes, counted on the specification."""
from __future__ import annotations

from typing import Any

import numpy as np

from ..blocks.configuration import Config
from ..blocks.tensors import Scope, draw, learned
from ..registry import specification

def parameter_count(method: str, config: Config) -> int:
    """The numbers that training sets: without BatchNorm's statistics."""
    return learned(specification(method).parameters(config))


def multiply_accumulates(method: str, config: Config, steps: int) -> int:
    """Those of all products of matrices in scoring one crop of a video of `steps` snippets (with all its patches)."""
    spec, counter = specification(method), [0]
    weights: dict[str, np.ndarray] = {name: _Counted.around(value, counter) for name, value in draw(spec.parameters(config), 0).items()}
    shape = (1, 1 + config.patches, steps, config.feature_dim) if config.patches else (1, steps, config.feature_dim)
    spec.forward(_Counted.around(np.ones(shape, np.float32), counter), Scope(weights), config)
    return counter[0]


class _Counted(np.ndarray):
    """An array whose products of matrices are counted, and which makes whatever is computed from it another one."""

    counter: list[int]

    @classmethod
    def around(cls, array: np.ndarray, counter: list[int]) -> _Counted:
        counted = np.asarray(array).view(cls)
        counted.counter = counter
        return counted

    def __array_finalize__(self, parent: Any) -> None:
        self.counter = getattr(parent, "counter", [0])

    def __array_ufunc__(self, ufunc: np.ufunc, kind: str, *inputs: Any, out: tuple = (), **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, _Counted) else x for x in inputs]
        if out:
            options["out"] = tuple(x.view(np.ndarray) if isinstance(x, _Counted) else x for x in out)
        result = getattr(ufunc, kind)(*plain, **options)
        if ufunc is np.matmul:
            self.counter[0] += result.size * plain[0].shape[-1]
        return _Counted.around(result, self.counter) if isinstance(result, np.ndarray) else result

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        result = super().__array_function__(function, types, inputs, options)
        return _Counted.around(result, self.counter) if isinstance(result, np.ndarray) else result
