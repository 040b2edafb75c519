"""The demo set: a small dataset made from a seed, so that everything can be tried without a download.

`Dataset.open("demo", demo_features())` opens it. Its table is bundled (tables/demo.csv), its features are written on first
use in the published layout, ten crops a video, and a trained checkpoint of some methods lies in demo/.

Features look like pooled I3D activations: not negative, mostly small, smooth in time. A video is filmed at one of a
few sites. Activities of people come and go on it, each a pattern of active channels with its own strength:

    x[n, t, d] = relu(gain[n, d] * (site[d] + sum_e seen_e[n] * envelope_e[t] * pattern_e[d] + drift[t, d]) + noise - threshold)

An anomaly is an event like the others, just as strong and just as long, with a pattern that borrows half its channels
from a harmless activity; and some harmless events borrow half of an anomaly's. How strong a snippet is says nothing: a
fresh network scores near 0.5 AUC, a trained one well above 0.9, and none reaches 1.

Every value is made from RandomState's uniform numbers, whose streams NumPy has frozen, by + - * / and comparisons,
whose results IEEE 754 fixes: the same features to the last bit on every machine.
"""
from __future__ import annotations

import hashlib
import os
import shutil
import uuid
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..errors import InputError
from ..methods import module_name
from .annotations import COLUMNS, SNIPPET, Video, load_table

Array = np.ndarray

SEED = 0
FEATURE_DIM = 32
CROPS = 10
CATEGORIES = ("Arson", "Explosion", "Fighting", "Robbery")
SITES = 4
ACTIVITIES = 6
PATTERN = np.linspace(1.6, 0.8, 8)
"""Strengths of a pattern's active channels: every pattern has these, on channels of its own."""
BORROWED = 4
"""Channels that an anomaly shares with a harmless activity, and a look-alike with an anomaly."""
NOISE = 0.5
THRESHOLD = 0.3

# Snippets of each video that is not drawn: short ones of both classes, and one long.
LENGTHS = {("test", "abnormal"): (1, 4, 2100), ("test", "normal"): (1, 2, 5),
           ("train", "abnormal"): (1, 5), ("train", "normal"): (1, 3)}
COUNTS = {"test": 12, "train": 30}   # videos of each class
