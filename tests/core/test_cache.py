"""The memory-mapped cache: its contents, when it is built anew, and what is left when that fails."""
import errno
import multiprocessing
import os
import resource
import shutil
import signal
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest

from wvad_core.data import TrainingSet, find_sampler, pool_segments
from wvad_core.data.cache import cache_folder, cached, parts
from wvad_core.data.features import VideoFeatures
from wvad_core.data.training_set import fill
from wvad_core.errors import InputError

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

    def __call__(self, places):
        self.fills += 1
        fill(places, self.videos, lambda features: pool_segments(features, self.segments), iter)

    def cached(self, folder):
        shape = (len(self.videos), CROPS, self.segments, DIM)
        return cached(folder, self.videos, f"{self.segments} segments", shape, self, self.said.append)


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
    for values in (found, in_memory(source)):
        assert values.dtype == np.float32 and values.shape == SHAPE and np.array_equal(values, expected)
    assert isinstance(found.base, np.memmap) and not found.flags.writeable
    name, = names_in(tmp_path / "new" / "cache")
    assert name.startswith("toy-4-segments-") and name.endswith(".npy")
    assert np.array_equal(np.load(tmp_path / "new" / "cache" / name), expected)


def test_whole_videos_are_those_in_memory(source, tmp_path):
    videos = opened(source)
    kept, mapped, again = (TrainingSet(videos, 6, cache=folder, sampler=find_sampler("snippets")) for folder in (None, tmp_path, tmp_path))
    for training_set in (kept, mapped, again):
        assert [features.shape for features in training_set.features] == [item.features.shape for item in videos]
        for features, item in zip(training_set.features, videos, strict=True):
            assert np.array_equal(features, item.features.read())
    assert kept.features[1].flags.writeable and not mapped.features[1].flags.writeable
    for step in range(5):
        one, other = (training_set.batch(step, 2, seed=3) for training_set in (kept, mapped))
        for name in ("features", "labels", "lengths", "videos"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


def test_segments_are_those_in_memory(source, tmp_path):
    kept, mapped, again = (TrainingSet(opened(source), SEGMENTS, cache=folder)
                           for folder in (None, tmp_path / "c", tmp_path / "c"))
    assert kept.features.flags.writeable and not mapped.features.flags.writeable and len(names_in(tmp_path / "c")) == 1
    for training_set in (kept, mapped, again):
        assert np.array_equal(training_set.features, in_memory(source))
    for crops in ("random", "all"):
        assert np.array_equal(*(training_set.batch(7, 2, seed=3, crops=crops).features for training_set in (kept, mapped)))


def test_parts_are_views_end_to_end():
    flat = np.arange(11)
    found = parts(flat, [(2, 2), (1,), (3, 2)])
    assert [part.tolist() for part in found] == [[[0, 1], [2, 3]], [4], [[5, 6], [7, 8], [9, 10]]]
    found[2][0, 0] = -1
    assert flat[5] == -1


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
        cached(tmp_path, opened(source), "ones", (1000, 1000), lambda places: places.fill(1))
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
    before, values = set(names_in(folder)) - set(kept), old.copy()
    change(source)
    changed = Pooled(opened(source))
    found = changed.cached(folder)
    assert changed.fills == 1 and np.array_equal(found, in_memory(source))
    assert np.array_equal(old, values) and not np.array_equal(found[3], old[3]), "who has the old file open keeps it"
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


def reshaped(path):
    np.save(path, np.load(path).reshape(VIDEOS, CROPS, DIM, SEGMENTS))


def transposed(path):
    np.save(path, np.asfortranarray(np.load(path)))


def recast(path):
    np.save(path, np.load(path).view(np.int32))


@pytest.mark.parametrize("damage", [shortened, lengthened, emptied, reshaped, transposed, recast])
def test_a_damaged_file_is_built_anew(source, tmp_path, damage):
    folder = tmp_path / "cache"
    Pooled(opened(source)).cached(folder)
    name, = names_in(folder)
    damage(folder / name)
    again = Pooled(opened(source))
    assert np.array_equal(again.cached(folder), in_memory(source)) and again.fills == 1
    assert names_in(folder) == [name]


def build(source, folder, pipe):
    """In a process of its own: cache, say when that fills the array or waits, and what came out."""
    pooled = Pooled(opened(source))

    def slowly(places):
        pipe.send("filling")
        pipe.recv()
        pooled(places)

    found = cached(folder, pooled.videos, "4 segments", SHAPE, slowly, pipe.send)
    pipe.send((pooled.fills, found.tobytes()))


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
    with pytest.raises(InputError) as caught:
        cached(tmp_path / "cache", opened(source), "200 segments", (1610, 10, 200, 1024), pytest.fail, pytest.fail)
    assert str(caught.value) == (f"{tmp_path / 'cache'}: caching 5 videos as 200 segments needs 13.2 GB and 1.0 GB are "
                                 "free, expected as much or another folder")
    assert names_in(tmp_path / "cache") == []


def test_a_disk_that_fills_up_leaves_nothing(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    pooled = Pooled(opened(source))
    with pytest.raises(InputError, match="cache: cannot be written .No space left on device.$"):
        pooled.cached(tmp_path / "cache")
    assert names_in(tmp_path / "cache") == [] and not pooled.fills


@pytest.fixture(params=["reserved", "not supported", "no such call"])
def reserving(request, monkeypatch):
    """All ways to claim the space of a file."""
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    if request.param == "not supported":
        monkeypatch.setattr(os, "posix_fallocate", unsupported)
    if request.param == "no such call":
        monkeypatch.delattr(os, "posix_fallocate")


def test_space_is_claimed_before_the_array_is_filled(source, tmp_path, reserving):
    """Or else a disk that is full by then ends the process with a signal."""
    def check(places):
        partial, = tmp_path.glob(".*.part")
        assert partial.stat().st_blocks * 512 >= places.nbytes == 40_000_000
        places[:] = 7

    assert (cached(tmp_path, opened(source), "sevens", (10, 1_000_000), check, print) == 7).all()


def test_a_limit_on_the_size_of_files_leaves_nothing(source, tmp_path, reserving):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(InputError, match="cannot be written .File too large.$"):
            cached(tmp_path / "cache", opened(source), "sevens", (10, 1_000_000), pytest.fail, print)
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
    def interrupted(places):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path / "cache", opened(source), "nothing", SHAPE, interrupted, print)
    assert names_in(tmp_path / "cache") == []


def test_sources_that_change_while_they_are_read_are_refused(source, tmp_path):
    def changing(places):
        places[:] = 0
        later(source)

    with pytest.raises(InputError, match="tables/toy.csv: the features changed while they were read"):
        cached(tmp_path / "cache", opened(source), "nothing", SHAPE, changing, print)
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
