"""The tables of videos and the ground truth made from them."""
import csv
import os
import re

import numpy as np
import pytest

from wvad_core.data.annotations import (
    TABLES,
    Video,
    abnormal_fraction,
    bundled_tables,
    bundled_timeline,
    frame_labels,
    load_table,
    split_timeline,
)
from wvad_core.errors import InputError

HEADER = "video,split,category,frames,intervals\n"


def video(*intervals, name="a", category="Abuse", frames=None, split="test"):
    return Video(name, split, category, frames, intervals)


def table(tmp_path, text, header=HEADER):
    path = tmp_path / "own.csv"
    path.write_bytes((header + text).encode() if isinstance(text, str) else text)
    return path


def test_bundled_tables_are_found_from_their_files():
    assert set(bundled_tables()) == {"demo", "shanghaitech", "ucf-crime", "xd-violence"}
    assert load_table("ucf-crime") == load_table("ucf_crime") == load_table(TABLES / "ucf_crime.csv")


@pytest.mark.parametrize("name, train, test", [("ucf-crime", 1610, 290), ("xd-violence", 3954, 800),
                                               ("shanghaitech", 238, 199)])
def test_bundled_tables_hold_every_video(name, train, test):
    videos = load_table(name)
    assert [sum(v.split == split for v in videos) for split in ("train", "test")] == [train, test]
    assert len({v.name for v in videos}) == train + test


def test_categories():
    assert video(category="Normal").abnormal is False
    assert video(category="Normal").categories == ("Normal",)
    assert video(category="B1-B2-G").abnormal is True
    assert video(category="B1-B2-G").categories == ("B1", "B2", "G")
    assert video(category="").abnormal is None
    assert video(category="").categories == ()


def expected_frames(name, snippets_of):
    """All frames and the abnormal ones of a bundled test set, from the CSV text alone, a set of frames a video."""
    total = abnormal = 0
    with open(TABLES / name, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                length = 16 * snippets_of(int(row["frames"]))
                marked = set()
                for interval in row["intervals"].split():
                    start, end = interval.split("-")
                    marked.update(range(int(start), int(end)))
                total += length
                abnormal += len(marked & set(range(length)))
    return total, abnormal


@pytest.mark.parametrize("name, snippets_of, total", [
    ("ucf_crime", lambda frames: (frames + 15) // 16, 1_114_144),
    ("xd_violence", lambda frames: (frames - 1) // 16, 2_330_384),
])
def test_ground_truth_of_the_bundled_tables(name, snippets_of, total):
    videos = [v for v in load_table(name) if v.split == "test"]
    snippets = [snippets_of(v.frames) for v in videos]
    labels = [frame_labels(v, t) for v, t in zip(videos, snippets)]
    fractions = [abnormal_fraction(v, t) for v, t in zip(videos, snippets)]
    assert sum(map(len, labels)) == 16 * sum(map(len, fractions)) == total
    expected = expected_frames(f"{name}.csv", snippets_of)
    assert (total, sum(int(x.sum()) for x in labels)) == expected
    assert 16 * sum(x.sum() for x in fractions) == expected[1]


def test_timeline_of_shanghaitech():
    timeline = bundled_timeline("shanghaitech")
    rows = np.genfromtxt(TABLES / "shanghaitech_test_timeline.csv", delimiter=",", names=True, dtype=int)
    marked = set()
    for row in rows:
        marked.update(range(row["start"], row["end"]))
    assert len(timeline) == 142_912
    assert set(np.flatnonzero(timeline).tolist()) == marked
    assert bundled_timeline("ucf-crime") is None
    assert bundled_timeline("no/such/table.csv") is None


def test_frame_labels_are_half_open_and_clipped():
    labels = frame_labels(video((3, 5), (30, 99)), 2)
    assert labels.dtype == bool and labels.shape == (32,)
    assert np.flatnonzero(labels).tolist() == [3, 4, 30, 31]
    assert not frame_labels(video((40, 50)), 2).any()


def test_fractions_are_exact_and_overlaps_count_once():
    fraction = abnormal_fraction(video((0, 16), (8, 20), (8, 20), (47, 48)), 4)
    assert fraction.dtype == np.float64
    assert fraction.tolist() == [1, 4 / 16, 1 / 16, 0]


def test_own_table(tmp_path):
    videos = load_table(table(tmp_path, "b,test,Fight-Fall,100,3-20 90-101\nä,train,Normal,,\nc,test,,,\n"))
    assert videos == (Video("b", "test", "Fight-Fall", 100, ((3, 20), (90, 101))),
                      Video("ä", "train", "Normal", None, ()), Video("c", "test", "", None, ()))


def test_own_table_may_order_its_columns_and_begin_with_a_byte_order_mark(tmp_path):
    path = table(tmp_path, "\ufeffsplit,video,frames,category,intervals\r\ntest, a ,,Normal,\r\n", header="")
    assert load_table(str(path)) == (Video("a", "test", "Normal", None, ()),)


def test_frame_rates(tmp_path):
    path = table(tmp_path, "a,test,Normal,,,25\nb,test,Normal,,, 29.97\nc,test,Normal,,,\n", HEADER.strip() + ",fps\n")
    assert [v.frame_rate for v in load_table(path)] == [25, 29.97, None]
    rates = {name: {v.frame_rate for v in load_table(name)} for name in bundled_tables()}
    assert rates == {"demo": {None}, "shanghaitech": {None}, "ucf-crime": {30}, "xd-violence": {24}}


def test_frame_rate_of_xd_violence_is_that_of_the_times_in_its_names():
    """Name__#HH-MM-SS_HH-MM-SS_...: times are whole seconds, so that a clip is a second off. A few names are wrong."""
    off = []
    for v in load_table("xd-violence"):
        times = re.search(r"#(\d+)-(\d+)-(\d+)_(\d+)-(\d+)-(\d+)", v.name)
        if times and v.frames:
            hours, minutes, seconds = np.diff(np.array(times.groups(), int).reshape(2, 3), axis=0)[0]
            off.append(abs(v.frames / v.frame_rate - (3600 * hours + 60 * minutes + seconds)))
    assert len(off) > 400 and np.mean(np.array(off) <= 1) > 0.98


@pytest.mark.parametrize("rate", ["0", "-30", "30fps", "nan", "1e3", "0.0000000000001", "1234567", "\u0663\u0660", "inf", "3\x00"])
def test_bad_frame_rates(tmp_path, rate):
    path = table(tmp_path, f"a,test,Normal,,,{rate}\n", HEADER.strip() + ",fps\n")
    with pytest.raises(InputError, match=f"line 2: fps {re.escape(repr(rate))}, expected frames a second"):
        load_table(path)


@pytest.mark.parametrize("text, message", [
    ("a,test,Abuse,10.5,\n", "line 2: frames '10.5', expected a whole number above 0"),
    ("a,test,Abuse,0,\n", "line 2: frames '0'"),
    ("a,test,Abuse,-3,\n", "line 2: frames '-3'"),
    ("b,test,Normal,,\na,test,Abuse,,3-x\n", "line 3: interval '3-x', expected start-end"),
    ("a,test,Abuse,,3\n", "line 2: interval '3', expected start-end"),
    ("a,test,Abuse,,-3-9\n", "line 2: interval '-3-9', expected start-end"),
    ("a,test,Abuse,,9-9\n", "line 2: interval 9-9 starts at its end or after it, expected start < end"),
    ("a,test,Abuse,,1-2 9-8\n", "line 2: interval 9-8 starts"),
    ("a,test,Abuse,100,50-117\n", "line 2: interval 50-117 lies beyond the video's 100 frames"),
    ("a,test,Abuse,100,100-101\n", "line 2: interval 100-101 lies beyond"),
    ("a,test,Normal,100,5-9\n", "line 2: intervals '5-9' in a video of category Normal, expected none"),
    ("a,test,Normal,,\nb,test,Normal,,\na,train,Normal,,\n", "line 4: video a is there twice"),
    ("a,validation,Normal,,\n", "line 2: split 'validation', expected train or test"),
    (",test,Normal,,\n", "line 2: no name in the column video"),
    ("a,test,Normal\n", "line 2: 3 cells, expected 5"),
    ("\n\na,test,Normal,,\n\nb,test,Normal,x,\n", "line 6: frames 'x'"),
    ("a,test,Normal,,,,\n", "line 2: 7 cells, expected 5"),
    ("", "no videos, expected one on each line after the first"),
    (HEADER.encode() + b"caf\xe9,test,Normal,,\n", "not UTF-8 text"),
    (b"video;split\n", "the columns are video;split, expected video,split,category,frames,intervals"),
    (b"video,split,category,frames,intervals,video\n", "columns are video,split,category,frames,intervals,video"),
    (b"", "the columns are missing, expected video,split,category,frames,intervals"),
    (f"a,test,Abuse,{'1' * 5000},\n", "line 2: frames '1111"), ("a,test,Abuse,1e400,\n", "line 2: frames '1e400'"),
    ("a,test,Abuse,nan,\n", "line 2: frames 'nan'"), ("a,test,Abuse,\u0661\u0662,\n", "line 2: frames '\u0661\u0662'"),
    ("a,test,Abuse,\u00b2,\n", "line 2: frames '\u00b2'"), ("a,test,Abuse,1_0,\n", "line 2: frames '1_0'"),
    (f"a,test,Abuse,,1-{'9' * 5000}\n", "line 2: interval '1-9999"), ("a,test,Abuse,,nan-inf\n", "line 2: interval 'nan-inf'"),
    ("a,test,Abuse,,\u0661-\u0662\n", "line 2: interval '\u0661-\u0662'"), ("a,test,Abuse,,1-2-3\n", "line 2: interval '1-2-3'"),
    ("b,test,Normal,,\na\0,test,Normal,,\n", "line 3: video 'a\\x00', expected at most 255 characters, none of control"),
    ("a,test,Abu\x1b[2Jse,,\n", "line 2: category 'Abu\\x1b[2Jse', expected at most"), ("a,test,Abuse,1\0,\n", "line 2: frames '1\\x00'"),
    ("a,test,Abuse,,1-2\0\n", "line 2: interval '1-2\\x00'"), ("a,te\0st,Abuse,,\n", "line 2: split 'te\\x00st'"),
    ("\"a\nb\",test,Normal,,\n", "line 2: video 'a\\nb', expected at most"),
    ('c,test,Normal,,\n"a,test,Normal,,\nb,test,Normal,,\n', "line 3: not CSV (unexpected end of data)"),
    ('"a"b,test,Normal,,\n', "line 2: not CSV (',' expected after '\"')"),
    (f"b,test,Normal,,\n{'a' * 10 ** 7},test,Normal,,\n", "line 3: "),
    ("a," * 10 ** 6 + "\n", "line 2: 1000001 cells, expected 5"), (f"a,{'t' * 10 ** 5},,,\n", "line 2: split 'ttt"),
    (f"{'a' * 10 ** 5},test,,,\n", "line 2: video 'aaa"), (f"a,test,{'a' * 256},,\n", "line 2: category 'aaa"), (b"a" * 10 ** 5, "the columns are aaa"),
    (f"a,test,Normal,,{'1-2 ' * 10 ** 4}\n", "line 2: intervals '1-2 1-2"), (bytes(1 << 24) + b"\n", "17 MB, expected a table of at most 17"),
])
def test_bad_tables_are_named_with_their_line(tmp_path, text, message):
    path = table(tmp_path, text)
    with pytest.raises(InputError) as caught:
        load_table(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value) and "\0" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_table_that_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zeros.csv").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(InputError, match=f"{name}.csv: no file that can be read$"):
            load_table(tmp_path / f"{name}.csv")


def test_unknown_datasets(tmp_path):
    with pytest.raises(InputError, match="ucf-crimes: no such dataset, expected demo, shanghaitech, ucf-crime, xd"):
        load_table("ucf-crimes")
    with pytest.raises(InputError, match=r"missing\.csv: no such file"):
        load_table(tmp_path / "missing.csv")
    with pytest.raises(InputError, match="no such dataset"):
        load_table("ucf-crime-test-timeline")
    with pytest.raises(InputError, match="no such dataset"):
        load_table(tmp_path)


TWO = (video(name="a", frames=32), video(name="b", frames=33))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_timeline_is_cut_in_the_order_of_the_table(dtype, shape):
    timeline = np.zeros(16 * 5, dtype)
    timeline[[0, 1, 31, 32, 79]] = 1
    before = timeline.copy()
    first, second = split_timeline(timeline.reshape(shape), TWO, [2, 3])
    assert first.tolist() == [2 / 16, 1 / 16]
    assert second.tolist() == [1 / 16, 0, 1 / 16]
    assert np.array_equal(timeline, before)


@pytest.mark.parametrize("frames, message", [(79, "has 79 frames, 1 too few"), (90, "has 90 frames, 10 too many")])
def test_timeline_of_the_wrong_length(frames, message):
    with pytest.raises(InputError) as caught:
        split_timeline(np.zeros(frames), TWO, [2, 3])
    assert message in str(caught.value)
    assert "the features of 2 videos have 5 snippets, that is 80 frames" in str(caught.value)
    assert "ceil(frames / 16) snippets a video would make 80 frames" in str(caught.value)
    assert "floor((frames - 1) / 16) would make 48" in str(caught.value)


def test_timeline_of_the_wrong_length_where_the_frames_are_not_known():
    with pytest.raises(InputError) as caught:
        split_timeline(np.zeros(15), [video()], [1])
    assert str(caught.value).endswith("that is 16 frames")


@pytest.mark.parametrize("timeline, message", [
    ([0, 1, 2, 1], "has 2 at frame 2, expected only 0 and 1"),
    ([0, np.nan], "has nan at frame 1"),
    ([0.5, 1], "has 0.5 at frame 0"),
    (["0", "1"], "expected one number for each frame"),
    (np.zeros((8, 2)), r"shape (8, 2) and dtype float64, expected one number for each frame, (F,)"),
    (np.zeros(16, object), "dtype object"),
])
def test_timeline_of_wrong_values(timeline, message):
    with pytest.raises(InputError) as caught:
        split_timeline(np.array(timeline), [video()], [1])
    assert message in str(caught.value)
