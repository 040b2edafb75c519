"""Videos, their annotations and their features."""
from .annotations import Video, bundled_tables, load_table
from .batches import Batch, TrainingSet, balanced_batches
from .dataset import Dataset, Item
from .segments import pool_segments

__all__ = ["Batch", "Dataset", "Item", "TrainingSet", "Video", "balanced_batches", "bundled_tables", "load_table",
           "pool_segments"]
