"""wvad: weakly supervised video anomaly detection, one library on NumPy, PyTorch and MindSpore.

    import wvad_core as wv

    detector = wv.load("weights.safetensors", backend="torch", device="auto")
    scores = detector.score(features)           # (N, T, D) -> (T,)
"""
from importlib.metadata import version

from . import data, video
from .backend import list_backends
from .data.batches import Batch
from .detector import Detector
from .errors import AssumedWarning, InputError
from .extractor import Extractor
from .models import create, export, from_published, load, published_names
from .registry import list_extractors, list_methods
from .reports.results import Report, evaluate
from .scoring import metrics
from .training.experiment import TrainingResult, train

__version__ = version("wvad")
__all__ = ["AssumedWarning", "Batch", "Detector", "Extractor", "InputError", "Report", "TrainingResult", "create", "data", "evaluate",
           "export", "from_published", "list_backends", "list_extractors", "list_methods", "load", "metrics",
           "published_names", "train", "video"]
