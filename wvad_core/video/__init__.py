"""A video as clips of its crops: what an extractor makes features of.

    source = wv.video.open("Abuse028.mp4")                     # a file, a folder of pictures, an address, any frames
    for clip in wv.video.snippets(source, "roc-ng"):           # (N, 16, 224, 224, 3) uint8, one for each snippet
        features = extractor.features(clip)                    # (N, D)

Files and addresses are read by PyAV, pictures and some filters by Pillow: pip install "wvad[video]". Neither is
imported before it is needed.
"""
from .clips import snippets
from .opening import open
from .recipe import Recipe, find_recipe, recipes
from .source import Source

__all__ = ["Recipe", "Source", "find_recipe", "open", "recipes", "snippets"]
