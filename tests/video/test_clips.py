"""Frames to snippets: how many, of which frames, in which memory, and what becomes of the threads that make them."""
import threading
import time
import tracemalloc
from itertools import count

import drawn
import numpy as np
import pytest

import wvad_core as wv
from wvad_core.video.recipe import Recipe


def recipe(**values):
    return Recipe(**{"extractor": "c3d", "scale": "raw", "resize": "none", "filter": "bilinear", "crops": ("tl",), "mirror": "none",
                     "tail": "repeat", "crop": 1, **values})


def numbered(frames):
    """Frames of one pixel that say which they are."""
    return [np.full((1, 1, 3), index, np.uint8) for index in range(frames)]


def shown(frames, **values):
    """Of each clip, the numbers of its frames."""
    return [clip[0, :, 0, 0, 0].tolist() for clip in wv.video.snippets(numbered(frames), recipe(**values))]


FRAMES = [1, 2, 15, 16, 17, 31, 32, 33, 48, 100]
SNIPPETS = {"drop": lambda n: n // 16, "repeat": lambda n: -(-n // 16), "drop-last": lambda n: (n - 1) // 16,
            "partial": lambda n: -(-n // 16)}


@pytest.mark.parametrize("tail", SNIPPETS)
@pytest.mark.parametrize("frames", FRAMES)
def test_how_many_snippets_and_of_which_frames(frames, tail):
    """Snippet t is of frames 16 t to 16 t + 15; where there are fewer, the last is repeated, or the clip is shorter."""
    found, wanted = shown(frames, tail=tail), max(SNIPPETS[tail](frames), 1)
    numbers = [[min(16 * t + i, frames - 1) for i in range(16)] for t in range(wanted)]
    if tail == "partial":
        numbers[-1] = [n for n in range(16 * (wanted - 1), min(16 * wanted, frames))]
    assert found == numbers


@pytest.mark.parametrize("tail", SNIPPETS)
@pytest.mark.parametrize("frames", FRAMES)
def test_the_first_frame_of_each_snippet(frames, tail):
    assert shown(frames, tail=tail, sampling="first") == [[16 * t] for t in range(max(SNIPPETS[tail](frames), 1))]


@pytest.mark.parametrize("name, frames, shape", [("rtfm", 33, (3, 10, 16)), ("roc-ng", 33, (2, 10, 16)), ("roc-ng-xd", 32, (1, 5, 16)),
                                                 ("ur-dmu", 33, (3, 10, 16)), ("gowtham", 33, (2, 10, 16)), ("vadclip", 32, (2, 10, 16))])
def test_the_published_recipes_count_as_published(name, frames, shape):
    clips = list(wv.video.snippets(drawn.frames(frames, 8, 12), name))
    assert (len(clips), *clips[0].shape) == (*shape, 224, 224, 3) and clips[0].dtype == np.uint8


def test_a_snippet_is_given_when_its_last_frame_has_come():
    """Of what has no end, too; only a recipe that may leave a whole snippet out needs to see one frame more."""
    def live(frames):
        for index in count():
            seen.append(index)
            assert index < frames, "more than one snippet ahead"
            yield np.zeros((1, 1, 3), np.uint8)

    for tail, most in (("repeat", 32), ("drop-last", 33)):
        seen = []
        clips = wv.video.snippets(live(most), recipe(tail=tail))
        next(clips)
        clips.close()
        assert len(seen) <= most


def test_clips_do_not_share_memory():
    """A caller may keep one, or write into it."""
    first, second = wv.video.snippets(numbered(32), recipe())
    assert not np.shares_memory(first, second)


def test_memory_does_not_grow_with_the_video():
    """A hundred clips of 9.6 MB pass by, at most four of them at a time."""
    frame = np.zeros((256, 340, 3), np.uint8)
    clip = 16 * 2 * 224 * 224 * 3
    tracemalloc.start()
    try:
        for number, _ in enumerate(wv.video.snippets((frame for _ in range(1600)), recipe(crop=224, crops=("tl", "br")))):
            if number == 4:
                tracemalloc.reset_peak()
        assert number == 99 and tracemalloc.get_traced_memory()[1] < 4.5 * clip
    finally:
        tracemalloc.stop()


class Stopped(Exception):
    pass


@pytest.mark.parametrize("how", ["close", Stopped, KeyboardInterrupt, "break", "garbage"])
def test_who_stops_early_leaves_no_thread_and_no_open_source(how):
    def frames():
        try:
            for _ in count():
                time.sleep(0.0005)
                yield np.zeros((8, 8, 3), np.uint8)
        finally:
            closed.set()

    closed, before = threading.Event(), set(threading.enumerate())
    clips = wv.video.snippets(frames(), recipe(crop=8))
    next(clips)
    if how == "close":
        clips.close()
    elif how == "break":
        for _ in clips:
            break
        clips.close()
    elif how == "garbage":
        del clips
    else:
        with pytest.raises(how):
            clips.throw(how)
        del clips
    assert set(threading.enumerate()) == before and closed.wait(5)


def test_a_file_is_closed_when_nobody_goes_on(tmp_path):
    path = drawn.write(tmp_path / "a.mp4", drawn.frames(80))
    clips = wv.video.snippets(path, "roc-ng-xd")
    next(clips)
    clips.close()
    del clips
    assert str(path) not in {str(link.resolve()) for link in __import__("pathlib").Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("place", [0, 5, 20])
def test_errors_come_through_at_their_place(place):
    def frames():
        yield from numbered(place)
        raise OSError("the camera is gone")

    given, before = [], set(threading.enumerate())
    with pytest.raises(OSError, match="^the camera is gone$"):
        for clip in wv.video.snippets(frames(), recipe()):
            given.append(clip)
    assert len(given) == place // 16 and set(threading.enumerate()) == before


def test_errors_of_resizing_come_through():
    with pytest.raises(wv.InputError, match="^frames: frames of 1 x 1, smaller than the recipe's crops of 2 x 2$"):
        list(wv.video.snippets(numbered(3), recipe(crop=2)))


def test_nothing_is_opened_before_the_first_clip_is_asked_for():
    def frames():
        opened.append(True)
        yield from numbered(3)

    opened = []
    clips = wv.video.snippets(frames(), recipe())
    assert not opened
    assert len(list(clips)) == 1 and opened


def test_the_next_clip_is_made_while_the_caller_works():
    drawn_by = []

    def frames():
        for frame in numbered(64):
            drawn_by.append(threading.current_thread())
            yield frame

    clips = wv.video.snippets(frames(), recipe())
    next(clips)
    for _ in range(500):
        if len(drawn_by) < 32:
            time.sleep(0.01)
    assert len(drawn_by) == 32 and threading.current_thread() not in drawn_by
    clips.close()
