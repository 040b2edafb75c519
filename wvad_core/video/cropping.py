"""Crops of a frame."""
from __future__ import annotations

import numpy as np

from ..errors import InputError
from .recipe import Recipe


def boxes(height: int, width: int, recipe: Recipe) -> list[tuple[int, int]]:
    """Row and column of the first pixel of each of the recipe's places in a frame of a size."""
    down, right = height - recipe.crop, width - recipe.crop
    rounded = (round(down / 2), round(right / 2)) if recipe.centre == "round" else (down // 2, right // 2)
    places = {"tl": (0, 0), "tr": (0, right), "c": rounded, "bl": (down, 0), "br": (down, right)}
    return [places[place] for place in recipe.crops]


def crop(frame: np.ndarray, recipe: Recipe, crops: np.ndarray, where: str) -> None:
    """Write the crops of a frame (H, W, C), resized before, into `crops`, (N, crop, crop, C).

    Raises InputError for a frame smaller than a crop. where: what messages begin with.
    """
    (height, width), side = frame.shape[:2], recipe.crop
    if min(height, width) < side:
        raise InputError(f"{where}: frames of {width} x {height}, smaller than the recipe's crops of {side} x {side}")
    places = boxes(height, width, recipe)
    for target, (row, column) in zip(crops, places):
        target[...] = frame[row:row + side, column:column + side]
    if recipe.mirror == "none":
        return
    mirrored = np.ascontiguousarray(frame[:, ::-1])  # once: to turn each crop costs five times as much
    for target, (row, column) in zip(crops[len(places):], places):
        left = column if recipe.mirror == "frame" else width - side - column
        target[...] = mirrored[row:row + side, left:left + side]
