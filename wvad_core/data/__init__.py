"""Videos, their annotations and their features."""
from .annotations import Video, bundled_tables, load_table
from .batches import Batch, TrainingSet, drawn
from .dataset import Dataset, Item
from .reading import read_features
from .segments import pool_segments
from .snippets import SnippetTrainingSet, sample_snippets

__all__ = ["Batch", "Dataset", "Item", "SnippetTrainingSet", "TrainingSet", "Video", "bundled_tables",
           "drawn", "load_table", "pool_segments", "read_features", "sample_snippets"]
