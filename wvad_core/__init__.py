"""wvad: weakly supervised video anomaly detection, one library on NumPy, PyTorch and MindSpore.

    import wvad_core as wv

    detector = wv.load("weights.safetensors", backend="torch", device="auto")
    scores = detector.score(features)           # (N, T, D) -> (T,)
"""
from . import data, metrics
from .backend import backends
from .data.batches import Batch
from .detector import Detector, create, from_published, load, published_names
from .errors import AssumedWarning, InputError
from .evaluation import Report, evaluate
from .methods import names as methods

__all__ = ["AssumedWarning", "Batch", "Detector", "InputError", "Report", "backends", "create", "data", "evaluate",
           "from_published", "load", "methods", "metrics", "published_names"]
