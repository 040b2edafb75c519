"""The origin of features in training: its checkpoints keep it, fine-tuning and resuming compare it."""
import json
import sys
from pathlib import Path

import pytest
from test_train import TINY, VIDEOS, videos, words  # noqa: F401, a fixture

import wvad_core as wv
from wvad_core import origin
from wvad_core.cli import train as command
from wvad_core.errors import Terminated
from wvad_core.training import experiment, planning
from wvad_core.training.loop import Stop
from wvad_core.training.overrides import parse

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
from test_origin import MADE, made  # noqa: E402

pytestmark = pytest.mark.needs("torch")
SMALL = parse([word for word in TINY if word.split("=")[0] not in ("steps", "evaluate_every")]) | {"steps": 2, "evaluate_every": 1}


def declare(folder: Path, **values) -> None:
    entries = {name: {"snippets": -(-row[2] // 16), "frame_rate": 25.0} for name, row in VIDEOS.items()}
    (folder / "features" / "features.json").write_text(json.dumps({"origin": MADE | values, "videos": entries}))


def train(**changes):
    return wv.train("bn-wvad", "own.csv", "features", device="cpu", recipe="xd-violence", **SMALL | changes)


def test_checkpoints_and_reports_keep_the_origin_through_fine_tuning(videos):
    folder = videos()
    declare(folder)
    result = train(output="run")
    assert result.detector.origin == result.last.origin == made() and result.report["notices"] == []
    for name in ("best", "last"):
        assert wv.load(folder / "run" / f"{name}.safetensors").origin == made()
        assert wv.Report.load(folder / "run" / name).about["origin"]["features"] == MADE
    assert {video.frame_rate for video in result.videos["best"]} == {25.0}
    best = folder / "run" / "best.safetensors"
    assert train(init=best).detector.origin == made()
    (folder / "features" / "features.json").unlink()
    tuned = train(init=best)
    assert tuned.detector.origin == made() and "of unknown origin" in tuned.report["notices"][0]
    declare(folder, extractor="c3d")
    with pytest.raises(wv.InputError, match=r"best.safetensors was trained on features of i3d-resnet50.*differ in extractor"):
        train(init=best, output="tuned")
    assert not (folder / "tuned").exists()
    command.main(words("--init", str(best), "--force", "steps=2", "evaluate_every=1", "--device", "cpu", output="tuned"))
    assert wv.load(folder / "tuned" / "last.safetensors").origin == made(extractor="c3d")
    assert "they differ in extractor" in json.loads((folder / "tuned" / "report.json").read_text())["notices"][0]


def test_features_of_unknown_origin_are_told_once(videos):
    videos()
    notices = train().report["notices"]
    assert len([line for line in notices if origin.UNKNOWN in line]) == 1


def test_a_test_set_of_another_origin_is_refused(videos):
    folder = videos()
    for split in ("train", "test"):
        (folder / "features" / split).mkdir()
    for name, row in VIDEOS.items():
        (folder / "features" / f"{name}__0.npy").rename(folder / "features" / row[0] / f"{name}__0.npy")
    declare(folder)
    (folder / "features" / "test" / "features.json").write_text(
        (folder / "features" / "features.json").read_text().replace("i3d-resnet50", "c3d"))
    with pytest.raises(wv.InputError, match=r"features, test videos: features of c3d.*the training videos have features of i3d"):
        train()
    assert "they differ in extractor" in train(force=True).report["notices"][0]


def test_a_run_goes_on_with_features_of_its_origin_alone(videos):
    folder = videos()
    declare(folder)
    plan = planning.plan("bn-wvad", "own.csv", "features", device="cpu", overrides=SMALL, recipe="xd-violence")
    with pytest.raises(Terminated):
        experiment.run(plan, folder / "run", stop=Stop(asked=True))
    declare(folder, weights_sha256="2b" * 32)
    with pytest.raises(wv.InputError, match=r"the origin of the features is not what .*run was trained with"):
        wv.train(resume="run")
    declare(folder, layout="video")
    assert wv.train(resume="run").detector.origin == made(layout="video")
