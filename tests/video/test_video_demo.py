"""`wvad demo --video`: what is drawn, what is bundled for it, and all of it from the scenes to the page."""
import json
import re
import sys

import av
import numpy as np
import pytest

import wvad_core as wv
from wvad_core.cli import command, process, video_demo
from wvad_core.data.annotations import SNIPPET, Video
from wvad_core.extraction.extracting import origin
from wvad_core.origin import from_dict
from wvad_core.scoring.videos import ScoredVideo
from wvad_core.video_demo import videos
from wvad_core.video_demo.canvas import Canvas
from wvad_core.video_demo.scenes import KINDS, RATE, WIDTH, Actor, Fire, Scene, Vehicle

FEW = {"fighting": "fighting", "fire": "fire", "normal-1": None}
SECONDS = 15.0


def test_the_drawing_is_that_of_its_seed():
    def frames(seed, kind):
        return np.stack(list(Scene.drawn(seed, kind, 0.6).frames()))

    first = frames(3, "fire")
    assert first.shape == (15, 270, 480, 3) and first.dtype == np.uint8
    assert np.array_equal(first, frames(3, "fire")) and not np.array_equal(first, frames(4, "fire"))
    assert (first[0] != first[-1]).any(-1).mean() > 0.001, "somebody moves"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", (0, 5))
def test_an_anomaly_is_in_its_interval_and_nowhere_else(kind, seed):
    """By where who does it stands at each frame: within the picture's width, or touching it."""
    scene = Scene.drawn(seed, kind)

    def visible(one, k):
        if isinstance(one, Fire):
            return one.begin <= k < one.begin + one.frames
        if isinstance(one, Vehicle):
            left = one.step * (k - one.begin) - (one.sprite.width if one.step > 0 else -WIDTH)
            return one.name == "van" and k >= one.begin and -one.sprite.width < left < WIDTH
        now = one.at(k)
        return (now is not None and now[0] in ("running", "fighting", "falling", "lying")
                and -one.height < now[3] < WIDTH + one.height)

    seen = [k for k in range(scene.length) if any(visible(one, k) for one in scene.cast)]
    start, end = scene.interval
    assert start <= seen[0] <= start + 8 and end - 8 <= seen[-1] + 1 <= end and RATE * 3 < len(seen) == seen[-1] + 1 - seen[0]
    assert not any(visible(one, k) for one in Scene.drawn(seed).cast for k in range(0, scene.length, 5))


def test_shapes_cover_their_areas():
    """A disc, a box and a ring of smooth edges: their covers add up to their areas."""
    for paint, area in ((lambda c: c.disc((20, 20), 9, (255, 0, 0)), np.pi * 81),
                        (lambda c: c.box((5.5, 8), (30, 20.25), (1, 2, 3)), 24.5 * 12.25),
                        (lambda c: c.ring((20, 20), 12, 4, (0, 0, 9)), np.pi * (14**2 - 10**2))):
        canvas = Canvas(40, 40)
        paint(canvas)
        assert canvas.cover.sum() == pytest.approx(area, rel=0.01) and canvas.cover.max() == 1
    frame = np.full((40, 40, 3), 100, np.uint8)
    sprite = canvas.sprite()
    sprite.onto(frame, -20, 3)  # half outside
    assert frame[23, 12 - 1].tolist() == [0, 0, 9] and frame[23, 25].tolist() == [100] * 3
    aside = Canvas(40, 40)
    aside.disc((9, 20), 4, (255, 0, 0))
    plain, turned = np.zeros((2, 40, 40, 3), np.uint8)
    aside.sprite().onto(plain, 0, 0)
    aside.sprite().mirrored().onto(turned, 0, 0)
    assert plain.any() and np.array_equal(turned, plain[:, ::-1])


def test_what_is_bundled():
    """Small, of each other, and with a threshold that normal videos chose."""
    for file in (videos.EXTRACTOR, videos.DETECTOR):
        assert file.stat().st_size < 2_000_000
    scorer = video_demo.scorer_of("numpy")
    made = from_dict(origin(scorer.extractor, videos.RECIPE, "drawn", "video", "float32"), "extractor")
    assert scorer.detector.origin.differences(made) == []
    threshold = scorer.threshold
    assert threshold == scorer.detector.threshold and threshold.rate <= threshold.wanted_rate and threshold.hours > 0.3


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demo leaves, of fewer and shorter videos, and what it prints."""
    folder, patch = tmp_path_factory.mktemp("demo") / "out", pytest.MonkeyPatch()
    patch.setattr(videos, "VIDEOS", FEW)
    patch.setattr(videos, "SECONDS", SECONDS)
    printed = []
    patch.setattr("builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words))))
    command.main(["demo", "--video", "--output", str(folder)])
    patch.undo()
    return folder, "\n".join(printed)


def page_data(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*)</script>\n<script>', page)[1])


def test_from_the_scenes_to_the_page(demo):
    folder, said = demo
    assert float(re.search(r"^frame-level AUC (\S+) %", said, re.M)[1]) > 90
    assert f"open {folder}/report.html" in said and len(re.findall(r"^(?:fighting|fire|normal-1) ", said, re.M)) == 3
    data = page_data(folder)
    shown = {video["name"]: video for video in data["videos"]}
    assert shown.keys() == FEW.keys() and data["threshold"] == pytest.approx(video_demo.scorer_of("numpy").threshold.high)
    for name, kind in FEW.items():
        assert (folder / shown[name]["media"]).is_file() and shown[name]["thumbnails"]
        assert ("truth" in shown[name]) == (kind is not None) and shown[name]["duration"] == SECONDS
        with av.open(str(folder / shown[name]["media"])) as file:
            assert sum(1 for _ in file.decode(video=0)) == SECONDS * RATE


def test_events_are_where_the_anomalies_are(demo):
    """Of each abnormal video one that covers half of the anomaly and little besides; of the normal one none."""
    folder, _ = demo
    found = json.loads((folder / "events.json").read_text())["videos"]
    data = page_data(folder)
    for video in data["videos"]:
        events = found[video["name"]]["events"]
        assert bool(events) == bool(video.get("truth"))
        for start, end in video.get("truth", ()):
            common = sum(max(0, min(end, event["end"]) - max(start, event["start"])) for event in events)
            assert common > 0.5 * (end - start) and sum(event["end"] - event["start"] for event in events) < common + 3


def test_the_auc_is_over_the_frames_that_were_drawn():
    """Of scores that are the truth, but for one snippet of ten that is half abnormal and scored as normal."""
    scores = np.float32([0, 0, 1, 1, 0, 0, 0, 0, 0, 0])
    video = ScoredVideo("v", "v.mp4", True, scores, np.arange(11.0), 25.0, {})
    drawn = {"v": Video("v", "test", "Fire", 160, ((2 * SNIPPET, 4 * SNIPPET + 8),), 25.0)}
    # 32 of 40 abnormal frames at score 1; of the other 8, and of all 120 normal frames, equal scores
    assert video_demo.auc([video], drawn) == pytest.approx((32 + 8 / 2) / 40)


@pytest.mark.parametrize("module, package", (("av", "PyAV"), ("PIL", "Pillow")))
def test_what_is_missing_is_named(module, package, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as end:
        process.run(command.main, ["demo", "--video", "--output", str(tmp_path / "out")])
    assert end.value.code == 2 and not (tmp_path / "out").exists()
    said = f'error: wvad demo --video needs {package}, which cannot be imported: pip install "wvad[video]"\n'
    assert capsys.readouterr() == ("", said)


def test_it_has_a_detector_of_its_own():
    with pytest.raises(wv.InputError, match="--method rtfm: --video has a detector of its own"):
        command.main(["demo", "--video", "--method", "rtfm"])


def test_actors_go_through_their_parts():
    """Where somebody is at a frame: who walks on at the pace of a part from where the one before it ended."""
    actor = next(one for one in Scene.drawn(0, "falling").cast if isinstance(one, Actor) and len(one.parts) == 5)
    frames = np.cumsum([0, *(part.frames for part in actor.parts)])
    x = actor.x
    for part, begin in zip(actor.parts, frames):
        assert actor.at(actor.begin + begin)[0] == part.activity and actor.at(actor.begin + begin)[3] == pytest.approx(x)
        x += part.step * part.frames
    assert actor.at(actor.begin - 1) is None and actor.at(actor.begin + frames[-1]) is None
