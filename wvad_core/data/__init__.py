"""Videos, their annotations and their features."""
from .annotations import Video, bundled_tables, load_table
from .batches import Batch
from .companions import companions_sha256, parse_companions
from .dataset import Dataset, Item
from .draws import DRAWS, drawn
from .reading import read_features
from .sampling import Sampler, find_sampler
from .segments import pool_segments
from .snippets import sample_snippets
from .training_set import TrainingSet

__all__ = ["DRAWS", "Batch", "Dataset", "Item", "Sampler", "TrainingSet", "Video", "bundled_tables",
           "companions_sha256", "drawn", "find_sampler", "load_table", "parse_companions", "pool_segments", "read_features", "sample_snippets"]
