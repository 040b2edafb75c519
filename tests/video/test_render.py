"""`wvad render`: what the pictures of the written video show, and what is refused."""
import errno

import av
import drawn
import numpy as np
import pytest
from PIL import Image

import wvad_core as wv
from wvad_core.cli import render as command
from wvad_core.errors import Failure
from wvad_core.reports import rendering
from wvad_core.video import writing

SCORES = {"a": [0.1, 0.9, 0.5], "b": [0.2]}


@pytest.fixture
def world(tmp_path):
    rows = [f"{name},{t},,,{score}" for name, scores in SCORES.items() for t, score in enumerate(scores)]
    (tmp_path / "scores.csv").write_text("\n".join(["video,snippet,start,end,score", *rows]) + "\n")
    return tmp_path


def run(world, video, *argv, output="out.mp4"):
    command.main([str(world / video), "--scores", str(world / "scores.csv"), "--output", str(world / output), *argv])


def read(path):
    found = list(wv.video.open(path))
    return np.stack([frame for frame, _ in found]), [time for _, time in found]


def cursor(panel):
    """The column that is nearest to one of the cursor's colours."""
    away = [np.abs(panel.astype(int) - colour).sum(2).mean(0) for colour in (rendering.INK, rendering.ALARM)]
    return int(np.minimum(*away).argmin())


def test_the_picture_is_above_and_the_cursor_runs_along(world):
    grey = np.linspace(40, 200, 44).astype(np.uint8)[:, None, None, None] * np.ones((1, 120, 200, 3), np.uint8)
    drawn.write(world / "a.mp4", grey)
    run(world, "a.mp4", "--threshold", "0.7")
    frames, times = read(world / "out.mp4")
    assert frames.shape == (44, 120 + 48, 200, 3) and np.allclose(times, np.arange(44) / 25, atol=1e-3)
    means = frames[:, :120].mean((1, 2, 3))
    assert np.abs(means - grey[:, 0, 0, 0]).max() < 4
    found = [cursor(frame[126:160]) for frame in frames]
    expected = [4 + (k / 16) * 192 / 3 for k in range(44)]
    assert np.abs(np.array(found) - expected).max() <= 2
    red = frames[:, 124:, :, 0].astype(int) - frames[:, 124:, :, 2]
    strong = [(red[k, 20:40, found[k] - 2:found[k] + 2] > 60).mean() > 0.2 for k in range(44)]
    assert strong == [16 <= k < 32 for k in range(44)], "the cursor's colour tells of scores above the threshold"
    with av.open(str(world / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


def test_odd_and_changing_sizes_pictures_and_flow(world):
    (world / "a").mkdir()
    for index in range(40):
        side = (31, 45) if index < 20 else (60, 400)
        Image.fromarray(np.full((*side, 3), 200, np.uint8)).save(world / "a" / f"{index}.png")
    run(world, "a", "--fps", "10")
    frames, times = read(world / "out.mp4")
    assert frames.shape[1:3] == (32 + 48, 160) and times[-1] == pytest.approx(3.9, abs=1e-3)
    assert frames[5, 15, 80].min() > 180 and frames[5, 15, 5].max() < 30, "black beside a narrow picture"
    assert frames[30, 16, 10].min() > 180 and frames[30, 29, 80].max() < 60, "a wider one is made smaller"
    flow = rendering.Curve(np.array([0.5]), 40, 160, None).below(np.full((40, 160, 2), 7, np.uint8), 0, 0.0)
    assert flow[10, 10].tolist() == [7, 7, 128]


def test_uneven_times_stay(world):
    times = [0, 1, 2, 10, 11, 30] + list(range(31, 65))
    drawn.write(world / "a.mp4", drawn.frames(40), times=times)
    run(world, "a.mp4")
    assert np.allclose(read(world / "out.mp4")[1], read(world / "a.mp4")[1], atol=2e-3)


def test_scores_that_are_no_probabilities_have_their_own_scale():
    for scores, high, low, top in (([-2.0, 3.0], None, -2, 3), ([0.1, 0.2], None, 0, 1), ([0.1, 0.2], 1.5, 0.1, 1.5),
                                   ([7.0, 7.0], None, 7, 7 + 1e-6)):
        curve = rendering.Curve(np.array(scores), 40, 160, high)
        assert (curve.low, curve.top) == (low, top)


def test_the_video_is_found_by_its_name_or_by_the_one_given(world):
    drawn.write(world / "other.mp4", drawn.frames(44))
    with pytest.raises(wv.InputError, match="scores.csv: has no video other; --name takes one of its 2$"):
        run(world, "other.mp4")
    run(world, "other.mp4", "--name", "a", "-q")
    assert len(read(world / "out.mp4")[0]) == 44


@pytest.mark.parametrize("text, message", [
    ("video,snippet,start\na,0,\n", "has no column end, score, expected video,"), ("", "has no column video"),
    ("video,snippet,start,end,score\na,1,,,0.5\n", "line 2: snippet 1, expected 0$"),
    ("video,snippet,start,end,score\na,0,,,nan\n", "line 2: score nan, expected a finite number$"),
    ("video,snippet,start,end,score\na,0,,\n", "line 2: no row of a snippet"),
    ("video,snippet,start,end,score\na,0,,,x\n", "line 2: no row of a snippet"),
    ('video,snippet,start,end,score\n"a,0', "not CSV"), (None, "cannot be read")])
def test_scores_that_are_none(text, message, world):
    drawn.write(world / "a.mp4", drawn.frames(20))
    (world / "scores.csv").unlink()
    if text is not None:
        (world / "scores.csv").write_text(text)
    with pytest.raises(wv.InputError, match=message):
        run(world, "a.mp4")
    assert not (world / "out.mp4").exists()


def test_a_video_that_is_bad_or_not_as_long_leaves_nothing(world):
    drawn.write(world / "b.mp4", drawn.frames(80))
    (world / "a.mp4").write_text("no video")
    before = sorted(world.iterdir())
    for video, message in (("b.mp4", "b.mp4: 80 frames, and 1 snippets of scores, .* 5 snippets give or take 2$"),
                           ("a.mp4", "a.mp4: cannot be read as a video"), ("c.mp4", "has no video c")):
        with pytest.raises(wv.InputError, match=message):
            run(world, video)
    with pytest.raises(wv.InputError, match="b.mp4: is the video itself"):
        run(world, "b.mp4", output="b.mp4")
    with pytest.raises(wv.InputError, match="out.avi: expected a file NAME.mp4$"):
        run(world, "b.mp4", output="out.avi")
    assert sorted(world.iterdir()) == before


def test_a_full_disk_is_a_failure(world, monkeypatch):
    drawn.write(world / "a.mp4", drawn.frames(44))

    def full(self):
        raise av.error.OSError(errno.ENOSPC, "No space left on device") if hasattr(av.error, "OSError") else OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(writing._Writer, "end", full)
    with pytest.raises(Failure, match="out.mp4: cannot be written"):
        run(world, "a.mp4")
    assert not (world / "out.mp4").exists()
