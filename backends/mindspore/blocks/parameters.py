"""Parameters to be filled."""
from __future__ import annotations

import numpy as np

from mindspore import Parameter, Tensor


def zeros(*shape: int) -> Parameter:
    """A parameter to be filled by `load_weights`, or by the caller."""
    return Parameter(Tensor(np.zeros(shape, np.float32)))
