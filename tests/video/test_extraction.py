"""Videos through an extractor into a feature folder: `wvad extract`, what it writes, and who shares or stops it."""
import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import drawn
import numpy as np
import pixel_means
import pytest
from PIL import Image

import wvad_core as wv
from wvad_core import registry
from wvad_core.cli import extract as command
from wvad_core.cli import process
from wvad_core.data.demo import default_method, demo_checkpoint
from wvad_core.data.video_features import header
from wvad_core.errors import Failure, Terminated
from wvad_core.extraction import extracting, feature_folder
from wvad_core.extraction.feature_folder import FeatureFolder
from wvad_core.extraction.growing_array import GrowingArray
from wvad_core.extraction.pace import followed
from wvad_core.extraction.videos import find_videos

HERE = Path(__file__).parent
RECIPE = wv.video.find_recipe("rtfm").as_dict() | {"extractor": "pixel-means", "resize": "short side 16", "crop": 8}


class World:
    """videos/ of 20, 33 and 48 frames, a recipe and weights; `run` extracts them on the NumPy backend."""

    def __init__(self, folder: Path, frames=(20, 33, 48)):
        self.root, self.output = folder, folder / "out"
        (folder / "videos").mkdir(parents=True)
        for number, count in enumerate(frames):
            drawn.write(folder / "videos" / f"v{number}.mp4", drawn.frames(count, seed=number))
        self.recipe(**RECIPE)
        wv.create("pixel-means", seed=1).save(folder / "weights.safetensors")

    def recipe(self, **values):
        (self.root / "own.json").write_text(json.dumps({**RECIPE, **values}))

    def run(self, *more, videos="videos"):
        command.main([str(self.root / videos), "--recipe", str(self.root / "own.json"), "--backend", "numpy", "--checkpoint",
                      str(self.root / "weights.safetensors"), "--output", str(self.output), *more])

    def files(self, output="out"):
        return {path.name: path.read_bytes() for path in sorted((self.root / output).iterdir())
                if path.name not in (".lock", ".claims")}


@pytest.fixture
def installed(tmp_path_factory, monkeypatch) -> Path:
    """The extractor of pixel_means.py, as pip installs it; where it is."""
    site = tmp_path_factory.mktemp("site")
    pixel_means.install(site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry, "EXTRACTORS", registry.Models("extractors", registry.ExtractorSpecification))
    monkeypatch.setattr(command, "EXTRACTORS", registry.EXTRACTORS)
    return site


@pytest.fixture
def world(installed, tmp_path) -> World:
    return World(tmp_path)


def expected(world: World, name: str) -> np.ndarray:
    """The features of a video, (T, N, D), from all its clips at once."""
    extractor = wv.load(world.root / "weights.safetensors")
    clips = list(wv.video.snippets(world.root / "videos" / f"{name}.mp4", world.root / "own.json"))
    return np.stack([extractor.features(clip) for clip in clips])


def test_a_file_a_video_that_the_library_reads(world, capsys):
    world.run()
    for name, snippets in (("v0", 2), ("v1", 3), ("v2", 3)):
        features = np.load(world.output / f"{name}.npy")
        assert features.shape == (snippets, 10, 6) and features.dtype == np.float32
        assert np.array_equal(features, expected(world, name))
        assert np.array_equal(wv.data.read_features(world.output / f"{name}.npy"), features.swapaxes(0, 1))
    assert set(world.files()) == {"v0.npy", "v1.npy", "v2.npy", "features.json"}
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("<Extractor pixel-means on numpy, cpu, float32") and "recipe own, 3 videos" in out
    assert "extracted 3 videos; 101 frames in " in out


def test_a_video_is_not_looked_at_again_before_each_of_the_others(world, monkeypatch):
    read = []
    monkeypatch.setattr(feature_folder, "header", lambda path: read.append(path.name) or header(path))
    world.run()
    assert not read
    world.run()
    assert sorted(read) == ["v0.npy", "v1.npy", "v2.npy"]


def test_a_table_of_the_videos_is_opened_with_them(world, tmp_path):
    world.run()
    lines = ("video,split,category,frames,intervals", "v0,test,Fight,20,4-9", "v1,test,Normal,33,", "v2,test,Normal,48,")
    (tmp_path / "own.csv").write_text("\n".join(lines))
    dataset = wv.data.Dataset.open(str(tmp_path / "own.csv"), world.output)
    assert [item.features.shape for item in dataset] == [(10, 2, 6), (10, 3, 6), (10, 3, 6)]


@pytest.mark.parametrize("changes, argv, shapes", [
    ({"mirror": "none"}, [], {f"v0__{crop}.npy": (2, 6) for crop in range(5)}),
    ({"mirror": "none", "crops": ["c"]}, [], {"v0.npy": (2, 6)}),
    ({}, ["--layout", "crops"], {f"v0__{crop}.npy": (2, 6) for crop in range(10)}),
    ({"tail": "partial", "sampling": "first"}, ["--dtype", "float16"], {"v0.npy": (2, 10, 6)})])
def test_layouts_and_types(changes, argv, shapes, world):
    world.recipe(**changes)
    world.run(*argv, videos="videos/v0.mp4")
    found = {name: np.load(world.output / name) for name in world.files() if name != "features.json"}
    assert {name: values.shape for name, values in found.items()} == shapes
    whole = expected(world, "v0").astype("float16" if argv[-1:] == ["float16"] else "float32")
    for name, values in found.items():
        assert values.dtype == whole.dtype
        assert np.array_equal(values, whole[:, int(name[-5])] if "__" in name else whole.reshape(values.shape))


def test_five_crops_in_one_file_are_refused_since_their_axis_would_not_be_known(world):
    world.recipe(mirror="none")
    with pytest.raises(wv.InputError, match="^--layout video with 5 crops, expected 1 or 10"):
        world.run("--layout", "video")


def test_the_origin_is_written_beside_the_features(world):
    world.run()
    known = json.loads((world.output / "features.json").read_text())
    assert known["origin"] == {
        "extractor": "pixel-means", "config": {"in_channels": 3, "depth": 6, "times": 1.0, "scale": "kinetics"}, "feature_dim": 6,
        "weights_sha256": known["origin"]["weights_sha256"], "precision": "float32", "recipe": "own", "preprocessing": RECIPE,
        "layout": "video", "dtype": "float32"}
    assert len(known["origin"]["weights_sha256"]) == 64 and set(known["versions"]) == {"wvad", "numpy", "av", "Pillow"}
    assert known["videos"]["v1"] == {"frames": 33, "snippets": 3, "crops": 10, "frame_rate": 25.0, "remarks": []}


def test_the_recipe_sets_the_extractors_scale_and_settings(world):
    world.recipe(scale="raw", settings={"times": 2.0})
    world.run()
    config = json.loads((world.output / "features.json").read_text())["origin"]["config"]
    assert (config["scale"], config["times"]) == ("raw", 2.0)
    world.recipe(settings={"time": 2.0})
    with pytest.raises(wv.InputError, match="has no setting 'time'; did you mean times"):
        world.run()


@pytest.mark.parametrize("change, differs", [
    (lambda world: world.recipe(filter="bicubic"), "preprocessing"), (lambda world: world.recipe(scale="raw"), "config"),
    (lambda world: wv.create("pixel-means", seed=2).save(world.root / "weights.safetensors"), "weights_sha256")])
def test_a_folder_of_another_origin_is_refused(change, differs, world):
    world.run()
    before = world.files()
    change(world)
    with pytest.raises(wv.InputError, match=f"out: has features of another origin, {differs} .*; another folder takes these$"):
        world.run()
    assert world.files() == before


def test_a_folder_with_features_of_unknown_origin_is_refused(world):
    world.output.mkdir()
    np.save(world.output / "v0.npy", np.zeros((2, 6), np.float32))
    with pytest.raises(wv.InputError, match="out: has v0.npy and no features.json, expected an empty folder"):
        world.run()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"origin": 1, "videos": {}}', b"[" * 100000])
def test_a_damaged_record_is_one_line(content, world):
    world.output.mkdir()
    (world.output / "features.json").write_bytes(content)
    with pytest.raises(wv.InputError, match=r"features.json: .*"):
        world.run()


def test_what_is_there_is_not_extracted_again(world, capsys, monkeypatch):
    world.run()
    monkeypatch.setattr(extracting, "snippets", None)
    world.run()
    assert "extracted 0 videos, 3 were there: " in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["gone", "cut", "other", "record", "no record"])
def test_what_is_not_whole_is_extracted_again(damage, world, capsys):
    world.run()
    before, file = world.files(), world.output / "v1.npy"
    known = json.loads(before["features.json"])
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(before["v1.npy"][:-1])
    elif damage == "other":
        np.save(file, np.zeros((2, 10, 6), np.float32))
    else:
        known["videos"]["v1"] = 3
        if damage == "no record":
            del known["videos"]["v1"]
        (world.output / "features.json").write_text(json.dumps(known))
    capsys.readouterr()
    world.run()
    assert world.files() == before and "extracted 1 videos, 2 were there; 33 frames" in capsys.readouterr().out


def test_bad_videos_are_named_and_the_others_go_on(world, caplog):
    (world.root / "videos" / "a bad one.mp4").write_text("no video")
    drawn.sound(world.root / "videos" / "sound.mp4")
    with pytest.raises(Failure) as caught:
        world.run()
    lines = str(caught.value).splitlines()
    assert lines[0] == "2 of 5 videos could not be extracted" and len(lines) == 3
    assert lines[1].startswith("  a bad one: ") and lines[2].startswith("  sound: ") and "no video stream" in lines[2]
    assert set(world.files()) == {"v0.npy", "v1.npy", "v2.npy", "features.json"}


def test_damage_is_told_and_kept(world, caplog):
    path = world.root / "videos" / "v2.mp4"
    drawn.write(path, drawn.frames(40, 96, 128), container={"movflags": "faststart"}, options={"g": "5"})
    path.write_bytes(path.read_bytes()[:-2000])
    world.run()
    about = json.loads((world.output / "features.json").read_text())["videos"]["v2"]
    assert about["frames"] < 40 and any("the file says 40 frames" in remark for remark in about["remarks"])


def test_features_that_are_not_finite_in_their_type_are_refused(world):
    world.recipe(scale="raw", settings={"times": 1e6})
    with pytest.raises(Failure, match="v0: v0: features of snippet 0 are not finite in float16"):
        world.run("--dtype", "float16")
    assert set(world.files()) == {"features.json"}


def test_a_full_disk_ends_it_at_once_and_leaves_no_part(world, monkeypatch):
    def full(self, values):
        if self.length == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(self, values)

    whole = GrowingArray.append
    monkeypatch.setattr(GrowingArray, "append", full)
    with pytest.raises(Failure, match=r"v0.npy: cannot be written \(No space left on device\)$"):
        world.run()
    assert set(world.files()) == {"features.json"}


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, Terminated])
def test_an_interrupted_extraction_leaves_no_part_and_goes_on(stopped, world, monkeypatch):
    def interrupted(self, clips):
        taken.append(None)
        if len(taken) == 4:  # the second snippet of the second video
            raise stopped
        return features(self, clips)

    taken, features, before = [], wv.Extractor.features, set(threading.enumerate())
    with monkeypatch.context() as patched, pytest.raises(stopped):
        patched.setattr(wv.Extractor, "features", interrupted)
        world.run()
    assert set(world.files()) == {"v0.npy", "features.json"} and set(threading.enumerate()) == before
    world.run()
    assert np.array_equal(np.load(world.output / "v1.npy"), expected(world, "v1"))


def test_a_folder_of_pictures_and_a_file_give_the_same_features(world, tmp_path):
    (tmp_path / "pictures" / "v0").mkdir(parents=True)
    for index, (frame, _) in enumerate(wv.video.open(world.root / "videos" / "v0.mp4")):
        Image.fromarray(frame).save(tmp_path / "pictures" / "v0" / f"{index}.png")
    world.run(videos="videos/v0.mp4")
    file = np.load(world.output / "v0.npy")
    world.output = tmp_path / "other"
    world.run(videos="pictures")
    assert np.array_equal(np.load(world.output / "v0.npy"), file)


def test_which_videos_paths_stand_for(tmp_path):
    for name in ("a.mp4", "b.MKV", "c.txt", ".d.mp4", "deep/e.avi", "deep/pictures/1.png", "flow/x/1.png", "flow/y/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_videos([str(tmp_path), str(tmp_path / "c.txt"), "http://host:80/live/door.m3u8", "rtsp://host:8554"])
    assert {name: source.removeprefix(f"{tmp_path}/") for name, source in found.items()} == {
        "a": "a.mp4", "b": "b.MKV", "e": "deep/e.avi", "pictures": "deep/pictures", "flow": "flow", "c": "c.txt",
        "door": "http://host:80/live/door.m3u8", "host_8554": "rtsp://host:8554"}
    (tmp_path / "more").mkdir()
    for paths, message in (([str(tmp_path / "more")], "no videos in it"), ([str(tmp_path / "gone.mp4")], "no such file"),
                           ([str(tmp_path / "a.mp4"), "http://host/a.mp4"], "are both called a")):
        with pytest.raises(wv.InputError, match=message):
            find_videos(paths)


@pytest.mark.parametrize("argv, message", [
    ([], "--recipe is missing$"), (["--extractor", "i3d-resnet"], r"unknown extractor 'i3d-resnet' \(did you mean i3d-resnet50\?\)"),
    (["--extractor", "c3d"], "--recipe is missing: no published one is of c3d$"), (["--recipe", "rftm"], r"did you mean rtfm\?"),
    (["--extractor", "c3d", "--recipe", "rtfm"], "^--recipe rtfm is of i3d-resnet50, expected one of --extractor c3d$")])
def test_recipe_and_extractor(argv, message, tmp_path):
    with pytest.raises(wv.InputError, match=message):
        command.main(["a.mp4", "--checkpoint", "w.pth", "--output", str(tmp_path / "out"), *argv])
    assert not (tmp_path / "out").exists()


def test_the_default_recipe_is_the_extractors_first():
    assert command.chosen_recipe("i3d-resnet50", None)[0] == "rtfm"


def test_a_checkpoint_of_a_detector_is_refused(world):
    with pytest.raises(wv.InputError, match="checkpoint of .*, expected pixel-means|expected an extractor"):
        world.run("--checkpoint", str(demo_checkpoint(default_method())))


def folder_of(world: World, name: str = "out") -> FeatureFolder:
    return FeatureFolder(world.root / name, {"layout": "video", "dtype": "float32"}, {})


def test_a_claim_is_one_processs_and_given_back(world):
    first, second = folder_of(world), folder_of(world)
    with first.claimed("v0") as ours:
        with second.claimed("v0") as theirs, second.claimed("v1") as other:
            assert ours and not theirs and other
    with second.claimed("v0") as ours:
        assert ours
    assert not list((world.output / ".claims").iterdir())


def test_two_at_once_share_the_videos(world, monkeypatch):
    """Each video is extracted once, and both end when all are there."""
    both, met, outcomes = threading.Barrier(2, timeout=20), [], []
    extractor, recipe = wv.load(world.root / "weights.safetensors"), wv.video.find_recipe(world.root / "own.json")
    videos = find_videos([str(world.root / "videos")])
    whole = extracting.extracted

    def together(*given):
        """The first video of each, at the same time."""
        if threading.get_ident() not in met:
            met.append(threading.get_ident())
            both.wait()
        return whole(*given)

    def work():
        origin = extracting.origin(extractor, recipe, "own", "video", "float32")
        outcomes.append(extracting.extract(videos, extractor, recipe, FeatureFolder(world.output, origin, {})))

    monkeypatch.setattr(extracting, "extracted", together)
    monkeypatch.setattr(extracting, "PATIENCE", 0.01)
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    extracted = [name for outcome in outcomes for name in outcome.extracted]
    assert sorted(extracted) == ["v0", "v1", "v2"] and all(outcome.extracted for outcome in outcomes)
    assert all(sorted(outcome.extracted + outcome.shared) == ["v0", "v1", "v2"] for outcome in outcomes)


def test_what_is_wrong_with_a_video_is_known_until_the_last_process_has_left(world):
    first, second = folder_of(world), folder_of(world)
    with first.shared():
        with second.shared(), second.claimed("v\udcff") as ours:
            assert ours and not first.failures()
            second.fail("v\udcff", "no video")
        assert first.failures() == second.failures() == {"v\udcff": "no video"}
        with second.shared():
            assert second.failures(), "somebody was here all the time"
    assert not first.failures() and not list((world.output / ".claims").iterdir())


def test_what_killed_processes_knew_is_tried_again(world):
    folder = folder_of(world)
    (world.output / ".claims" / "0123.present").touch()  # nobody holds it
    folder.fail("v0", "no video")
    with folder.shared():
        assert not folder.failures()
    assert not list((world.output / ".claims").iterdir())


def test_a_bad_video_is_tried_by_one_process_and_again_by_the_next_run(world, caplog):
    (world.root / "videos" / "bad.mp4").write_text("no video")
    world.run(videos="videos/v0.mp4")
    known = json.loads((world.output / "features.json").read_text())
    with FeatureFolder(world.output, known["origin"], {}).shared():
        for _ in range(2):
            with pytest.raises(Failure, match="^1 of 4 videos could not be extracted\n  bad: .*cannot be read as a video"):
                world.run()
        assert caplog.text.count("bad: ") == 1
    with pytest.raises(Failure):
        world.run()
    assert caplog.text.count("bad: ") == 2


def test_all_frames_are_counted_however_fast_they_are_decoded():
    """Of a source that has one more whenever somebody looks, as its frames are decoded in a thread."""
    class Growing:
        expected_frames, seen = 100, 0

        @property
        def frames(self):
            self.seen += 1
            return self.seen

    source, told = Growing(), []
    assert list(followed(iter("abc"), source, "v", lambda *heard: told.append(heard))) == ["a", "b", "c"]
    assert sum(frames for _, _, frames in told) == source.seen and sum(fraction for _, fraction, _ in told) == pytest.approx(1)


@pytest.mark.parametrize("environment, threads", [
    ({}, {}), ({"LOCAL_WORLD_SIZE": "1"}, {}), ({"LOCAL_WORLD_SIZE": "2"}, {"OMP_NUM_THREADS": "4"}),
    ({"MS_WORKER_NUM": "3"}, {"OMP_NUM_THREADS": "2"}), ({"LOCAL_WORLD_SIZE": "20"}, {"OMP_NUM_THREADS": "1"})])
def test_processes_that_a_launcher_started_divide_the_cores(environment, threads, monkeypatch):
    for name in ("LOCAL_WORLD_SIZE", "MS_WORKER_NUM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert process.threads() == threads


@pytest.mark.parametrize("before, after", [
    ({}, "4"), ({"OMP_NUM_THREADS": "1"}, "1"), ({"OMP_NUM_THREADS": "3", "TORCHELASTIC_RUN_ID": "x"}, "3"),
    ({"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "x"}, "4")])
def test_threads_that_somebody_has_asked_for_stay(before, after, monkeypatch):
    """torchrun sets one thread where nobody has said how many."""
    monkeypatch.setattr(os, "environ", dict(before))
    with pytest.raises(SystemExit) as end:
        process.start(lambda _: print(os.environ["OMP_NUM_THREADS"]), {"OMP_NUM_THREADS": "4"})
    assert end.value.code == 0 and os.environ["OMP_NUM_THREADS"] == after


def test_links_in_place_of_locks_are_not_followed(world):
    world.output.mkdir()
    (world.output / ".lock").symlink_to(world.root / "elsewhere")
    with pytest.raises(wv.InputError, match=r"\.lock: a link, expected a lock file"):
        world.run()
    assert not (world.root / "elsewhere").exists()


@pytest.mark.parametrize("length, shape", [(1, (2, 3)), (12345, (3,)), (7, ())])
def test_an_array_that_grows_is_a_npy_file(length, shape, tmp_path):
    values = np.random.default_rng(0).random((length, *shape), np.float32)
    with GrowingArray(tmp_path / "a.npy", "float32") as array:
        for value in values:
            array.append(value)
    assert np.array_equal(np.load(tmp_path / "a.npy"), values)
    assert np.load(tmp_path / "a.npy", mmap_mode="r").ctypes.data % 64 == 0


def test_an_array_that_is_left_before_its_end_is_no_file(tmp_path):
    with pytest.raises(RuntimeError), GrowingArray(tmp_path / "a.npy", "float32") as array:
        array.append(np.zeros(3))
        raise RuntimeError
    assert header(tmp_path / "a.npy") == "is not a .npy file"


SLOW = pytest.mark.skipif("not config.getoption('--slow')", reason="--slow")


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=SLOW)])
def test_killed_at_any_moment_the_folder_is_that_of_one_left_alone(kills, installed, tmp_path):
    world = World(tmp_path, (20, 40, 60, 30, 16, 5, 80, 33))
    world.recipe(resize="short side 96", crop=80)
    done = subprocess.run([sys.executable, HERE / "killed_extractions.py", str(kills), tmp_path], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": f"{installed}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert len(seen) >= kills and len({tuple(names) for names in seen}) > 3, "killed in different places"
    assert world.files("killed") == world.files("whole") and len(world.files("whole")) == 9
