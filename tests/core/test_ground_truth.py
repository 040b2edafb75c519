"""The bundled tables' videos, categories and anomalous frames, pinned by checksums.

The numbers were computed from the published tables by a script that shares no code with this library: lines split at
commas, a set of abnormal frames for each video. So an interval that moves by one frame, here or in the reader, shows.
"""
import hashlib

import numpy as np
import pytest

from wvad_core.data.annotations import bundled_tables, bundled_timeline, frame_labels, load_table

# (dataset, split): videos, abnormal ones, frames by the table, frames of all snippets, abnormal ones, checksum.
PINNED = {
    ("ucf-crime", "train"): (1610, 810, 0, 0, 0, "d24f9dbed034f3b1"),
    ("ucf-crime", "test"): (290, 140, 1_111_808, 1_114_144, 84_189, "a19472319ae3094b"),
    ("xd-violence", "train"): (3954, 1905, 0, 0, 0, "fc6f3ca680642c4b"),
    ("xd-violence", "test"): (800, 500, 2_335_801, 2_330_384, 537_805, "e36668df69f6d404"),
    ("shanghaitech", "train"): (238, 63, 0, 0, 0, "61d29ab1c7277138"),
    ("shanghaitech", "test"): (199, 0, 0, 0, 0, "74cff0e6669cc342"),  # known as one timeline, below
    ("demo", "train"): (80, 40, 97_652, 0, 0, "11950efd53648bdf"),
    ("demo", "test"): (24, 12, 56_785, 56_960, 11_555, "7a12765abfe5dadf"),
}


def snippets(name: str, frames: int) -> int:
    """How many snippets the published features of a video have."""
    return (frames - 1) // 16 if name == "xd-violence" else -(-frames // 16)


def checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def runs(labels: np.ndarray) -> str:
    """The abnormal stretches [start, end) of a video's frames, as a table writes them."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels.astype(int), [0]])))
    return " ".join(f"{start}-{end}" for start, end in edges.reshape(-1, 2))


def test_every_split_is_pinned():
    assert set(PINNED) == {(name, split) for name in bundled_tables() for split in ("train", "test")}


@pytest.mark.parametrize("name, split", PINNED)
def test_videos_and_their_abnormal_frames(name, split):
    videos = [video for video in load_table(name) if video.split == split]
    labels = [frame_labels(v, snippets(name, v.frames) if v.frames and split == "test" else 0) for v in videos]
    text = "\n".join(f"{v.name},{v.category},{v.frames or ''},{runs(marked)}" for v, marked in zip(videos, labels))
    assert (len(videos), sum(bool(v.abnormal) for v in videos), sum(v.frames or 0 for v in videos),
            sum(map(len, labels)), sum(int(marked.sum()) for marked in labels), checksum(text)) == PINNED[name, split]
    assert all(not video.intervals for video in videos) or split == "test"


def test_timeline_of_shanghaitech():
    timeline = bundled_timeline("shanghaitech")
    assert (len(timeline), timeline.sum()) == (142_912, 8_028)
    assert checksum("".join(map(str, timeline.astype(int)))) == "6b72346c0897e3cd"


def test_a_moved_interval_is_noticed():
    """What the checksum is of: one frame more or less at either end is another text."""
    labels = np.zeros(64, bool)
    labels[10:20] = labels[63:] = True
    assert runs(labels) == "10-20 63-64" and runs(np.roll(labels, 1)) == "0-1 11-21" and runs(labels[:0]) == ""
