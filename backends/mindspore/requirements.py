"""What this backend needs and pip does not enforce."""
from __future__ import annotations

import numpy as np


def check_numpy() -> None:
    """Raises ImportError with numpy 2, where MindSpore 2.7 to 2.10 build networks and then fail in any operation.

    MindSpore 2.10 lets pip install it beside numpy 2.
    """
    if int(np.__version__.partition(".")[0]) >= 2:
        raise ImportError(f"MindSpore computes with numpy below 2, found numpy {np.__version__}")
