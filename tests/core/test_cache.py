"""The cache: its contents, when it is built anew, and what is left when that fails."""
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import time
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

from wvad_core.data import TrainingSet, find_sampler, pool_segments
from wvad_core.data.cache import cache_folder, cached
from wvad_core.data.demo import demo_features
from wvad_core.data.video_features import VideoFeatures
from wvad_core.data.training_set import fill
from wvad_core.errors import Failure, InputError

VIDEOS, CROPS, SEGMENTS, DIM = 5, 2, 4, 3
SHAPE = (VIDEOS, CROPS, SEGMENTS, DIM)
NAMES = [f"v{number}" for number in range(VIDEOS)]


class Videos(list):
    """What the cache needs of a dataset."""
    name = "tables/toy.csv"


def write(file, seed, snippets):
    np.save(file, np.random.default_rng(seed).random((CROPS, snippets, DIM), np.float32))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        write(folder / f"{name}.npy", number, 5 + number)
    return folder


def opened(source, names=NAMES):
    shapes = [np.load(source / f"{name}.npy", mmap_mode="r").shape for name in names]
    return Videos(SimpleNamespace(video=SimpleNamespace(name=name), abnormal=number % 2 == 1,
                                  features=VideoFeatures((source / f"{name}.npy",), shape, 0))
                  for number, (name, shape) in enumerate(zip(names, shapes)))


class Pooled:
    """Fills an array with the segments of all videos, and counts how often; its lines are in `said`."""

    def __init__(self, videos, segments=SEGMENTS):
        self.videos, self.segments, self.fills, self.said = videos, segments, 0, []

    @property
    def shapes(self):
        return [(CROPS, self.segments, DIM)] * len(self.videos)

    def __call__(self, store):
        self.fills += 1
        fill(store, self.shapes, self.videos, lambda features: pool_segments(features, self.segments), iter)

    def cached(self, folder):
        return cached(folder, self.videos, f"{self.segments} segments", self.shapes, self, self.said.append)


def constant(value, shapes):
    """What stores an array of one value for each shape."""
    def fill(store):
        for video, shape in enumerate(shapes):
            store(video, np.full(shape, value, np.float32))
    return fill


def whole(videos):
    """All the values that are cached."""
    return np.stack([np.asarray(video) for video in videos])


def names_in(folder):
    """The files there, without the locks, which hold nothing."""
    locks = [path for path in folder.iterdir() if path.suffix == ".lock"]
    assert not sum(path.stat().st_size for path in locks)
    return sorted(path.name for path in folder.iterdir() if path not in locks)


def in_memory(source):
    return Pooled(opened(source)).cached(None)


def test_contents_are_those_in_memory(source, tmp_path):
    expected = np.stack([pool_segments(item.features.read(), SEGMENTS) for item in opened(source)])
    found = Pooled(opened(source)).cached(tmp_path / "new" / "cache")
    for values in (whole(found), in_memory(source), pickle.loads(pickle.dumps(found))):
        assert np.array(values).dtype == np.float32 and np.array_equal(values, expected)
    name, = names_in(tmp_path / "new" / "cache")
    assert name.startswith("toy-4-segments-") and name.endswith(".npy")
    assert np.array_equal(np.load(tmp_path / "new" / "cache" / name), expected.ravel())


@pytest.mark.parametrize("preadv", [True, False])
def test_crops_are_read_one_by_one_or_together(source, tmp_path, monkeypatch, preadv):
    if not preadv:
        monkeypatch.delattr(os, "preadv")
    expected, found = in_memory(source), Pooled(opened(source)).cached(tmp_path)
    assert len(found) == VIDEOS and len(found[0]) == CROPS and found[1].shape == SHAPE[1:]
    for crops in (0, 1, -1, slice(None), slice(1, None), slice(None, None, -1), slice(0, 0)):
        assert np.array_equal(found[3][crops], expected[3][crops])
    with pytest.raises(IndexError):
        found[0][CROPS]
    with pytest.raises(IndexError):
        found[VIDEOS]


def test_whole_videos_are_those_in_memory(source, tmp_path):
    videos = opened(source)
    kept, on_disk, again = (TrainingSet(videos, 6, cache=folder, sampler=find_sampler("snippets")) for folder in (None, tmp_path, tmp_path))
    for training_set in (kept, on_disk, again):
        assert [features.shape for features in training_set.features] == [item.features.shape for item in videos]
        for features, item in zip(training_set.features, videos, strict=True):
            assert np.array_equal(features, item.features.read())
    for step in range(5):
        one, other = (training_set.batch(step, 2, seed=3) for training_set in (kept, on_disk))
        for name in ("features", "labels", "lengths", "videos"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_segments_are_those_in_memory(source, tmp_path):
    kept, on_disk, again = (TrainingSet(opened(source), SEGMENTS, cache=folder)
                           for folder in (None, tmp_path / "c", tmp_path / "c"))
    assert len(names_in(tmp_path / "c")) == 1
    for training_set in (kept, on_disk, again):
        assert np.array_equal(training_set.features, in_memory(source))
    for crops in ("random", "all"):
        assert np.array_equal(*(training_set.batch(7, 2, seed=3, crops=crops).features for training_set in (kept, on_disk)))


def test_the_second_opening_reads_no_features(source, tmp_path, monkeypatch):
    expected = in_memory(source)
    first = Pooled(opened(source))
    first.cached(tmp_path / "cache")
    for item in first.videos:
        monkeypatch.setattr(type(item.features), "read", None)
    second = Pooled(first.videos)
    assert np.array_equal(second.cached(tmp_path / "cache"), expected)
    assert (first.fills, second.fills, second.said) == (1, 0, [])


def test_the_size_is_stated_first(source, tmp_path):
    pooled = Pooled(opened(source))
    pooled.cached(tmp_path / "cache")
    assert pooled.said == [f"caching 5 videos as 4 segments: 0.0 MB in {tmp_path / 'cache'}"]


def test_by_default_lines_are_logged(source, tmp_path, caplog, capsys):
    with caplog.at_level("INFO", logger="wvad"):
        cached(tmp_path, opened(source), "ones", [(1, 1000, 200)] * 5, constant(1, [(1, 1000, 200)] * 5))
    assert caplog.messages == [f"caching 5 videos as ones: 4.0 MB in {tmp_path}"] and capsys.readouterr() == ("", "")


def later(source):
    file = source / "v3.npy"
    times = file.stat()
    write(file, 77, 8)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


def larger(source):
    """The same shape in another precision."""
    file = source / "v3.npy"
    times = file.stat()
    np.save(file, np.load(file).astype(np.float64) / 3)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def copied(source):
    """Of the same size and time of modification, as a copy that keeps times is."""
    file = source / "v3.npy"
    times = file.stat()
    write(file, 77, 8)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size and file.stat().st_mtime_ns == times.st_mtime_ns


@pytest.mark.parametrize("change", [later, larger, copied])
def test_a_changed_source_is_cached_anew_and_the_old_file_removed(source, tmp_path, change):
    folder = tmp_path / "cache"
    others = [Pooled(opened(source), segments=3), Pooled(opened(source, NAMES[:4]))]
    for other in others:
        other.cached(folder)
    kept = names_in(folder)
    old = Pooled(opened(source)).cached(folder)
    before, values = set(names_in(folder)) - set(kept), whole(old)
    change(source)
    changed = Pooled(opened(source))
    found = changed.cached(folder)
    assert changed.fills == 1 and np.array_equal(found, in_memory(source))
    assert np.array_equal(whole(old), values) and not np.array_equal(found[3], old[3]), "who has the old file open keeps it"
    after = set(names_in(folder)) - set(kept)
    assert len(after) == len(before) == 1 and after != before and len(names_in(folder)) == len(kept) + 1 == 3


def test_the_order_of_the_videos_and_the_crop_axis_decide_too(source, tmp_path):
    videos = opened(source)
    turned = Videos(reversed(videos))
    transposed = opened(source)
    transposed[0].features = VideoFeatures(videos[0].features.files, (5, CROPS, DIM), 1)
    Pooled(videos).cached(tmp_path / "cache")
    found = Pooled(turned).cached(tmp_path / "cache")
    assert np.array_equal(found, in_memory(source)[::-1])
    again = Pooled(transposed)
    with pytest.raises(ValueError):  # five crops do not fit: what matters is that it was not the cached array
        again.cached(tmp_path / "cache")
    assert again.fills == 1


def shortened(path):
    os.truncate(path, path.stat().st_size - 4)


def lengthened(path):
    with open(path, "ab") as file:
        file.write(bytes(4))


def emptied(path):
    path.write_bytes(b"")


def of_other_shapes(path):
    np.save(path, np.zeros(np.prod(SHAPE) + 1, np.float32))


def another_header(path):
    replaced(path, 60, b"0")


def another_checksum(path):
    replaced(path, path.stat().st_size - 20, b"none")


def another_seal(path):
    replaced(path, path.stat().st_size - 8, bytes(8))


def a_link(path):
    path.rename(path.parent.parent / "elsewhere.npy")
    path.symlink_to(path.parent.parent / "elsewhere.npy")


def a_link_in_a_circle(path):
    path.unlink()
    path.symlink_to(path)


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def replaced(path, place, content):
    """Other bytes at a place of a file."""
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(content)


@pytest.mark.parametrize("damage", [shortened, lengthened, emptied, of_other_shapes, another_header, another_checksum,
                                    another_seal, a_link, a_link_in_a_circle, a_pipe])
def test_a_damaged_file_is_built_anew(source, tmp_path, damage):
    folder = tmp_path / "cache"
    Pooled(opened(source)).cached(folder)
    name, = names_in(folder)
    damage(folder / name)
    again = Pooled(opened(source))
    assert np.array_equal(again.cached(folder), in_memory(source)) and again.fills == 1
    assert names_in(folder) == [name] and (folder / name).is_file() and not (folder / name).is_symlink()
    assert len(again.said) == 2 and again.said[0].startswith(f"{folder / name}: damaged (")
    elsewhere = tmp_path / "elsewhere.npy"
    assert not elsewhere.exists() or np.load(elsewhere)[0] == in_memory(source).flat[0], "what a link leads to stays"


def cache_file_of(folder):
    name, = names_in(folder)
    return folder / name


def value(path, video, content, crop=1):
    """Set the last value of a crop; times of change come in steps of milliseconds."""
    replaced(path, 128 + 4 * (((video * CROPS) + crop + 1) * SEGMENTS * DIM - 1), content)
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


CONTENTS = {"another value": np.float32(0.25), "NaN": np.float32(np.nan), "a bit": None}


@pytest.mark.parametrize("content", CONTENTS)
def test_what_was_altered_is_found_and_built_anew(source, tmp_path, content):
    expected, folder = in_memory(source), tmp_path / "cache"
    Pooled(opened(source)).cached(folder)
    path, values = cache_file_of(folder), CONTENTS[content]
    if values is None:
        values = (expected[3, 1].view(np.int32)[-1, -1] ^ 1).astype(np.int32)
    value(path, 3, values.tobytes())
    pooled = Pooled(opened(source))
    found = pooled.cached(folder)
    assert np.array_equal(found[3][0], expected[3][0]) and not pooled.fills, "what is as it was is read"
    assert np.array_equal(whole(found), expected)
    assert pooled.fills == 1 and names_in(folder) == [path.name]
    assert pooled.said == [f"{path}: v3 is not as it was cached; it is built anew", f"caching 5 videos as 4 segments: 0.0 MB in {folder}"]
    again = Pooled(opened(source))
    assert np.array_equal(whole(again.cached(folder)), expected) and (again.fills, again.said) == (0, [])


def test_what_is_altered_after_it_was_read_is_found_too(source, tmp_path):
    """In both of two runs that have the file open; one builds, both read."""
    expected = in_memory(source)
    first, second = Pooled(opened(source)), Pooled(opened(source))
    one, other = (pooled.cached(tmp_path / "cache") for pooled in (first, second))
    for videos in (one, other):
        assert np.array_equal(whole(videos), expected)
    path = cache_file_of(tmp_path / "cache")
    time.sleep(0.02)  # files' times are no finer than that everywhere
    value(path, 2, np.float32(7).tobytes())
    for videos in (one, other):
        assert np.array_equal(videos[2][1], expected[2, 1]) and np.array_equal(whole(videos), expected)
    assert (first.fills, second.fills) == (2, 0)


@pytest.mark.parametrize("size", [0, 200])
def test_a_file_that_is_cut_while_it_is_open_is_built_anew(source, tmp_path, size):
    """A memory map would end the process."""
    pooled = Pooled(opened(source))
    found = pooled.cached(tmp_path / "cache")
    os.truncate(cache_file_of(tmp_path / "cache"), size)
    assert np.array_equal(whole(found), in_memory(source)) and pooled.fills == 2


def test_training_goes_on_with_what_is_built_anew(source, tmp_path):
    kept, on_disk = (TrainingSet(opened(source), SEGMENTS, cache=folder) for folder in (None, tmp_path / "cache"))
    value(cache_file_of(tmp_path / "cache"), 3, np.float32(np.nan).tobytes())
    for step in range(6):
        one, other = (training_set.batch(step, 2, seed=3, crops="all") for training_set in (kept, on_disk))
        assert np.array_equal(one.features, other.features)


def test_a_source_that_changes_is_not_mixed_in_when_a_file_is_built_anew(source, tmp_path):
    found = Pooled(opened(source)).cached(tmp_path / "cache")
    value(cache_file_of(tmp_path / "cache"), 1, bytes(4))
    later(source)
    with pytest.raises(InputError, match="tables/toy.csv: the features changed since they were cached, expected files that stay$"):
        whole(found)


def test_a_folder_that_does_not_keep_what_is_written(source, tmp_path, monkeypatch):
    pooled = Pooled(opened(source))
    found = pooled.cached(tmp_path / "cache")
    monkeypatch.setattr("wvad_core.data.cache_file.checksum", lambda values: os.urandom(4))
    with pytest.raises(Failure, match="npy: altered as soon as it was written, expected a folder that keeps its files$"):
        found[0][0]
    assert pooled.fills == 2


def test_a_file_in_the_place_of_another_is_another(source, tmp_path, monkeypatch):
    """The inode decides, where all times are the same."""
    Pooled(opened(source)).cached(tmp_path / "cache")
    write(tmp_path / "new.npy", 77, 8)
    stat = os.stat

    def without_times(path, **options):
        state = stat(path, **options)
        return SimpleNamespace(**{name: getattr(state, name) for name in ("st_size", "st_ino", "st_mode", "st_uid")},
                               st_mtime_ns=0, st_ctime_ns=0)

    monkeypatch.setattr(os, "stat", without_times)
    before = Pooled(opened(source))
    before.cached(tmp_path / "cache")
    (tmp_path / "new.npy").replace(source / "v3.npy")
    after = Pooled(opened(source))
    assert np.array_equal(whole(after.cached(tmp_path / "cache")), in_memory(source)) and (before.fills, after.fills) == (1, 1)


def test_the_folder_is_the_users_alone(source, tmp_path):
    Pooled(opened(source)).cached(tmp_path / "new" / "cache")
    assert (tmp_path / "new" / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1777])
def test_a_folder_that_others_can_write_to_is_refused(source, tmp_path, mode):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(InputError, match=rf"cache: can be written to by others \(mode {mode:o}\), expected a folder of your own, mode 700"):
        Pooled(opened(source)).cached(folder)
    assert names_in(folder) == []


def test_a_folder_of_somebody_else_is_refused(source, tmp_path, monkeypatch):
    Pooled(opened(source)).cached(tmp_path / "cache")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    with pytest.raises(InputError, match=rf"cache: belongs to user {user}, not {user + 1}, expected a folder of your own") as caught:
        Pooled(opened(source)).cached(tmp_path / "cache")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("WVAD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="cache: belongs to user"):
        demo_features()


@pytest.mark.parametrize("plant", [lambda lock, elsewhere: lock.symlink_to(elsewhere), lambda lock, _: os.mkfifo(lock)])
def test_a_lock_that_is_no_file_is_refused(source, tmp_path, plant):
    folder = tmp_path / "cache"
    Pooled(opened(source)).cached(folder)
    lock, = folder.glob(".*.lock")
    lock.unlink()
    plant(lock, tmp_path / "elsewhere")
    next(folder.glob("*.npy")).unlink()
    with pytest.raises(InputError, match=r"lock: is no file, expected one that only this library makes; remove it$"):
        Pooled(opened(source)).cached(folder)
    assert not (tmp_path / "elsewhere").exists()


def test_a_temporary_file_that_is_a_link_is_not_followed(source, tmp_path):
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    Pooled(opened(source)).cached(folder)
    path = cache_file_of(folder)
    elsewhere.write_text("mine")
    path.with_name(f".{path.stem}.part").symlink_to(elsewhere)
    path.unlink()
    assert np.array_equal(whole(Pooled(opened(source)).cached(folder)), in_memory(source))
    assert elsewhere.read_text() == "mine" and cache_file_of(folder).stat().st_ino != elsewhere.stat().st_ino


def test_values_that_become_too_large_are_refused(source, tmp_path):
    for name in ("v1", "v4"):
        values = np.load(source / f"{name}.npy")
        values[:] = 3e38  # finite, unlike their sum
        np.save(source / f"{name}.npy", values)
    with pytest.raises(InputError) as caught:
        TrainingSet(opened(source), 2, cache=tmp_path / "cache")
    assert [line.split(":")[0] for line in str(caught.value).split("\n  ")] == [
        "2 of 5 videos have features that cannot be sampled", "v1", "v4"]


def build(source, folder, pipe):
    """In a process of its own: cache, say when that fills the array or waits, and what came out."""
    pooled = Pooled(opened(source))

    def slowly(store):
        pipe.send("filling")
        pipe.recv()
        pooled(store)

    found = cached(folder, pooled.videos, "4 segments", pooled.shapes, slowly, pipe.send)
    pipe.send((pooled.fills, whole(found).tobytes()))


def started(source, folder):
    """A process that builds, and the pipe to it, which ends with the process."""
    context = multiprocessing.get_context("spawn")
    pipe, other = context.Pipe()
    process = context.Process(target=build, args=(source, folder, other), daemon=True)
    process.start()
    other.close()
    return process, pipe


def test_two_processes_at_once_build_once(source, tmp_path):
    folder = tmp_path / "cache"
    first, to_first = started(source, folder)
    assert to_first.recv().startswith("caching 5 videos as 4 segments") and to_first.recv() == "filling"
    second, to_second = started(source, folder)
    assert to_second.recv() == f"waiting for another run that caches the same features in {folder}"
    to_first.send("go on")
    assert to_first.recv() == (1, in_memory(source).tobytes())
    assert to_second.recv() == (0, in_memory(source).tobytes())
    for process in (first, second):
        process.join()
    assert len(names_in(folder)) == 1


def test_a_killed_builder_is_in_nobodys_way(source, tmp_path):
    folder = tmp_path / "cache"
    process, pipe = started(source, folder)
    assert pipe.recv().startswith("caching") and pipe.recv() == "filling"
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [name.endswith(".part") for name in names_in(folder)] == [True]
    later(source)  # so the next one builds another file, and tidies up all the same
    following = Pooled(opened(source))
    assert np.array_equal(following.cached(folder), in_memory(source)) and following.fills == 1
    assert [name.endswith(".npy") for name in names_in(folder)] == [True]
    assert len(following.said) == 1 and following.said[0].startswith("caching")


def test_too_little_space_is_refused_before_anything_is_written(source, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 10**9, 10**9))
    with pytest.raises(Failure) as caught:
        cached(tmp_path / "cache", opened(source), "200 segments", [(10, 200, 1024)] * 1610, pytest.fail, pytest.fail)
    assert str(caught.value) == (f"{tmp_path / 'cache'}: caching 1610 videos as 200 segments needs 13.2 GB and 1.0 GB are "
                                 "free, expected as much or another folder")
    assert names_in(tmp_path / "cache") == []


def test_a_limit_on_the_size_of_files_leaves_nothing(source, tmp_path):
    limits, large = resource.getrlimit(resource.RLIMIT_FSIZE), [(1, 1000, 200)] * 5
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(Failure, match="cannot be written .File too large.$"):
            cached(tmp_path / "cache", opened(source), "sevens", large, constant(7, large), print)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names_in(tmp_path / "cache") == []


def test_features_that_are_not_finite_leave_nothing(source, tmp_path):
    for name in ("v1", "v4"):
        values = np.load(source / f"{name}.npy")
        values[1, 2, 0] = np.nan
        np.save(source / f"{name}.npy", values)
    for _ in range(2):
        with pytest.raises(InputError) as caught:
            Pooled(opened(source)).cached(tmp_path / "cache")
        assert [line.split(":")[0] for line in str(caught.value).split("\n  ")] == [
            "2 of 5 videos have features that are not finite", "v1", "v4"]
        assert names_in(tmp_path / "cache") == []


def test_an_interrupt_leaves_nothing(source, tmp_path):
    def interrupted(store):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "cache", opened(source), "nothing", [SHAPE[1:]] * VIDEOS, interrupted, print)
    assert names_in(tmp_path / "cache") == []


def test_sources_that_change_while_they_are_read_are_refused(source, tmp_path):
    def changing(store):
        constant(0, [SHAPE[1:]] * VIDEOS)(store)
        later(source)

    with pytest.raises(InputError, match="tables/toy.csv: the features changed while they were read"):
        cached(tmp_path / "cache", opened(source), "nothing", [SHAPE[1:]] * VIDEOS, changing, print)
    assert names_in(tmp_path / "cache") == []


def test_a_source_that_is_gone(source, tmp_path):
    videos = opened(source)
    (source / "v2.npy").unlink()
    with pytest.raises(InputError, match="v2.npy: cannot be read .No such file or directory.$"):
        Pooled(videos).cached(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/cache: cannot be written .Not a directory.$"):
        Pooled(opened(source)).cached(tmp_path / "file" / "cache")


def test_the_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("WVAD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "wvad"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "wvad"
    monkeypatch.setenv("WVAD_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
