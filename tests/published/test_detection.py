"""Temporal detection mAP: the authors' numbers, and what these cannot tell, by hand."""
import numpy as np
import pytest

import golden
from wvad_core.errors import InputError
from wvad_core.scoring.detection import IOUS, average_precision, mean_average_precision

CASES = [name for name in golden.names() if "ap_per_class" in golden.load(name).outputs]


@pytest.mark.parametrize("name", CASES)
def test_published_numbers(name):
    found = golden.load(name).outputs
    lengths = found["lengths"].astype(int)
    probabilities = np.split(found["probabilities"], np.cumsum(lengths)[:-1])
    segments = [[tuple(map(int, row[1:])) for row in found["segments"] if row[0] == video] for video in range(len(lengths))]
    assert found["iou"] == pytest.approx(IOUS)
    np.testing.assert_allclose(average_precision(probabilities, segments), found["ap_per_class"], rtol=1e-10, atol=1e-12)
    result = mean_average_precision(probabilities, segments)
    assert [100 * result[str(iou)] for iou in IOUS] == pytest.approx(found["map"], rel=1e-10, abs=1e-12)
    assert 100 * result["average"] == pytest.approx(float(found["average_map"]), rel=1e-10)


def column(*values):
    """Probabilities (T, 1) of one class."""
    return np.array(values, float)[:, None]


def precisions(probabilities, *segments):
    """AP at each threshold, of videos of one class."""
    return average_precision(probabilities, [[(0, *segment) for segment in of] for of in segments])[:, 0].tolist()


def test_proposals_are_above_the_threshold_and_not_at_it():
    """0.4 is at 1 - 0.6 (1 - 0), and no part of the run; 0.41 is, and joins what lies around it."""
    assert precisions([column(0, 0.4, 1, 0)], [(32, 48)]) == [1] * 5
    assert precisions([column(0, 0.41, 1, 0)], [(32, 48)]) == [1] * 5            # 16 of 32 frames: 0.5
    assert precisions([column(0, 0.41, 1, 0.41)], [(32, 48)]) == [1, 1, 1, 0, 0]  # 16 of 48
    assert precisions([column(0, 0.41, 0.2, 1)], [(16, 32), (48, 64)]) == [1] * 5  # two runs


def test_a_column_of_one_value_makes_no_proposal():
    assert precisions([column(0.5, 0.5)], [(0, 32)]) == [0] * 5
    assert precisions([column(1)], [(0, 16)]) == [0] * 5


def test_a_class_that_nowhere_has_a_proposal_leaves_nothing_of_all():
    """The first class is found perfectly; the second is constant in both videos, or in one of them."""
    one, constant = np.array([[0, 0.5], [1, 0.5]]), np.array([[1, 0.5], [1, 0.5]])
    varied = np.array([[1, 0.4], [1, 0.6]])
    segments = [[(0, 16, 32)], []]
    assert mean_average_precision([one, constant], segments) == dict.fromkeys([*map(str, IOUS), "average"], 0)
    assert average_precision([one, constant], segments)[:, 0].tolist() == [1] * 5
    assert mean_average_precision([one, varied], segments) == dict.fromkeys([*map(str, IOUS), "average"], 0.5)


def test_the_mean_of_the_top_sixteenth_counts_its_last_snippet_in_part():
    """T = 24: the top 1.5 snippets. A video's 0.9 with a second 0.6 beats another's 0.95 with nothing beside it.

    Scores: 0.9 + 0.7 (16 * 0.9 + 8 * 0.6) / 24 = 1.46; 0.95 + 0.7 (16 * 0.95 + 8 * 0.0) / 24 = 1.393...
    With one whole snippet alone, 1.53 against 1.615; with two, 1.425 against 1.28.
    """
    high, low = np.zeros(24), np.zeros(24)
    high[3], low[3], low[9] = 0.95, 0.9, 0.6
    videos = [column(*high), column(*low)]
    # The false one of `high` comes after both of `low`: 1.46, 1.16, 1.393 -> ranks 1, 3, 2.
    assert precisions(videos, [], [(48, 64), (144, 160)]) == [pytest.approx((1 + 2 / 3) / 2)] * 5
    assert precisions(videos, [], [(144, 160)]) == [pytest.approx(1 / 3)] * 5
    # At 0.75 of a second snippet: T = 28, 12 frames of the second.
    nearly = column(*np.r_[0.8, np.zeros(26), 0.7])  # 0.8 + 0.7 (16 * 0.8 + 12 * 0.7) / 28 = 1.33
    other = column(*np.r_[0.97, np.zeros(27)])       # 0.97 + 0.7 (16 * 0.97) / 28 = 1.358
    assert precisions([nearly, other], [(0, 16)], []) == [0.5] * 5


@pytest.mark.parametrize("value", (0.3, 0.6))
def test_the_mean_is_rounded_as_that_of_frames(value):
    """Two means that are equal, as those of frames are; sums over snippets would tell them apart."""
    videos = [column(value, value, *np.zeros(26)), column(value, 0)]
    frames = [np.sort(np.repeat(video[:, 0], 16))[::-1][:len(video)].mean() for video in videos]
    assert frames[0] == frames[1] != (16 * value + 12 * value) / 28
    assert precisions(videos, [(0, 32)], []) == [1] * 5


def test_a_short_video_has_a_part_of_its_highest_snippet():
    """T = 2: 2 frames of the highest one, so that its own value is the mean; 0.8 * 1.7 beats nothing but 0.7 * 1.7."""
    videos = [column(0.7, 0), column(0.8, 0)]
    assert precisions(videos, [(0, 16)], []) == [0.5] * 5
    assert precisions(videos, [], [(0, 16)]) == [1] * 5


def test_of_equal_overlaps_the_first_segment_is_taken():
    """One run over two segments of one length; the second proposal overlaps the first segment alone."""
    wide = column(0, 1, 1, 0, 0)                # frames 16 to 48
    assert precisions([wide], [(16, 32), (32, 48)]) == [0.5] * 5
    video = column(0.9, 0, 1, 1, 0, 0)          # runs 32-64, first by its score, and 0-16
    segments = [(14, 48), (48, 82)]             # both 16 of 50 with the first run; 2 of 48 with the second run
    assert precisions([video], segments) == [0.5, 0.5, 0.5, 0, 0]
    # After the first run has taken (8, 48), 16 of 56, of two equal ones, the other run finds nothing at 0.1 in (48, 88).
    video = column(0.9, 0.9, 0, 1, 1, 0, 0)     # runs 48-80 and 0-32
    segments = [(24, 64), (64, 104)]            # 16 of 56 each; 8 of 64 of (24, 64) by the second run, 0.125
    assert precisions([video], segments) == [0.5, 0.5, 0, 0, 0]
    assert precisions([video], segments[::-1]) == [1, 0.5, 0, 0, 0]


def test_a_segment_is_taken_once():
    """Two runs in one segment: the second is a false positive, before the true one of another video."""
    videos = [column(0.9, 0, 0.9, 0), column(0.8, 0, 0, 0)]
    assert precisions(videos, [(0, 64)], [(0, 16)]) == [pytest.approx((1 + 2 / 3) / 2)] * 2 + [pytest.approx(1 / 3 / 2)] * 3


def test_equal_scores_are_ranked_in_the_order_of_videos_and_of_time():
    videos = [column(0.9, 0), column(0.9, 0)]
    assert precisions(videos, [(0, 16)], []) == [1] * 5
    assert precisions(videos, [], [(0, 16)]) == [0.5] * 5
    twice = column(0.9, 0, 0.9)
    assert precisions([twice], [(0, 16)]) == [1] * 5
    assert precisions([twice], [(32, 48)]) == [0.5] * 5


def test_segments_of_no_class_are_left_out():
    probabilities = [np.array([[0, 1.0], [1, 0]])]
    expected = average_precision(probabilities, [[(0, 16, 32)]])
    assert np.array_equal(average_precision(probabilities, [[(-1, 0, 32), (0, 16, 32), (2, 0, 16)]]), expected)
    assert expected.tolist() == [[1, 0]] * 5


def test_thresholds_are_literals():
    """3 of 10 frames are 0.3, which is below 0.1 + 0.2; as are 16 and 32 of 160 frames at 0.1 and 0.2."""
    assert IOUS == (0.1, 0.2, 0.3, 0.4, 0.5) and IOUS[2] < 0.1 * 3
    for numerator, hits in ((16, 1), (32, 2), (48, 3), (64, 4), (80, 5)):
        video = column(*np.r_[np.ones(10), np.zeros(4)])
        assert precisions([video], [(0, numerator)]) == [1] * hits + [0] * (5 - hits)


def test_segments_behind_the_end_are_not_cut():
    assert precisions([column(0, 1)], [(16, 64)]) == [1, 1, 1, 0, 0]  # 16 of 48


def test_float32_and_one_snippet():
    found = [np.array([[0.2, 0.8]], np.float32), np.array([[0.1, 0.9], [0.7, 0.3]], np.float32)]
    assert average_precision(found, [[], [(0, 16, 32), (1, 0, 16)]]).tolist() == [[1, 1]] * 5


@pytest.mark.parametrize("probabilities, segments", [([np.zeros((2, 2))], []), ([np.zeros((2, 2)), np.zeros((2, 3))], [[], []]),
                                                     ([np.zeros(2)], [[]]), ([], [])])
def test_what_is_refused(probabilities, segments):
    with pytest.raises(InputError, match="^found probabilities of . videos"):
        average_precision(probabilities, segments)
