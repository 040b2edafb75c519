"""What test_parallel.py compares: training and evaluation, here on one process or on several.

As a script, one of several processes, which the framework's launcher starts: BACKEND FOLDER METHOD ... It takes its share
of everything and leaves in FOLDER what it finds.
"""
from __future__ import annotations

import atexit
import contextlib
import dataclasses
import io
import json
import logging
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import devices
import numpy as np
from PIL import Image
from told_to_end import told_to_end

import wvad_core as wv
from cases import CONFIGS, activations, batch, detector
from wvad_core.backend import find_backend
from wvad_core.cli import extract
from wvad_core.data.annotations import Video
from wvad_core.data.dataset import Dataset, Item
from wvad_core.data.video_features import VideoFeatures
from wvad_core.errors import Failure
from wvad_core.training.options import Options
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

RECIPE = Recipe(segments=20, videos=4, steps=3, learning_rate=1e-3, weight_decay=5e-3, clip_norm=1.0)
DEVICE = Options(batch_norm="device")
CASES = {method: configs[-1] for method, configs in CONFIGS.items()}
SAME = "saa"  # whose loss is of means over videos alone: it stays the same when every video comes twice
LENGTHS = (7, 30, 3, 12, 20)
HANGS = 900
"""Seconds after which a process that waits for another one, which is gone, ends; a run takes a small part of them."""


def train(method: str, config: dict, backend: str, share=lambda batch: batch, options: Options = Options(),
          deterministic: bool = True) -> dict[str, Any]:
    """A few steps, on what `share` makes of the batches: the loss terms of each, the weights and the memory."""
    made = detector(method, config, backend)
    trainer = Trainer(made, RECIPE, options)
    batches = [batch(method, config, 20, videos=RECIPE.videos, seed=step) for step in range(RECIPE.steps)]
    terms = [trainer.step(share(given), deterministic) for given in batches]
    memory = {name: value for name, value in trainer.state().items() if name.startswith("memory.")}
    return {"terms": terms, "weights": made.weights() | memory}


def train_on_items(backend: str, share=lambda batch: batch) -> dict[str, Any]:
    """The same of a small method that takes any videos in any order, with classes and a companion."""
    made, rng = wv.create("tagger", backend, devices.of(backend), seed=2), np.random.default_rng(1)
    recipe = dataclasses.replace(RECIPE, batches="items")
    trainer, texts = Trainer(made, recipe, Options()), {"prompts": rng.standard_normal((3, 8))}
    batches = [wv.Batch(rng.standard_normal((6, 5, 8)).astype(np.float32), [1, 1, 0, 1, 0, 1], rng.integers(1, 6, 6), None,
                        [(2,), (1, 2), (0,), (1,), (0,), (2, 1)], texts) for _ in range(RECIPE.steps)]
    terms = [trainer.step(share(given), True) for given in batches]
    return {"terms": terms, "weights": made.weights()}


def twice(given: wv.Batch) -> wv.Batch:
    """A batch in which each half comes twice, so that two processes get the same."""
    normal, abnormal = given.halves()
    return given.reordered(np.concatenate([normal, normal, abnormal, abnormal]))


def evaluate(backend: str, data: Dataset, spoilt: bool = False) -> dict[str, Any] | str:
    """The report, or the error. spoilt: the weights have NaN."""
    made = detector(SAME, CONFIGS[SAME][0], backend)
    if spoilt:
        weights = {name: value * np.float32("nan") if name.endswith("fc3.bias") else value
                   for name, value in made.weights().items()}
        made = dataclasses.replace(made, network=made.backend.build(SAME, made.config, weights, devices.of(backend), "float32", 0))
    try:
        report = wv.evaluate(made, data, replicates=20)
    except wv.InputError as error:
        return str(error)
    return report.as_dict() | {"scores": {video.name: video.scores for video in report.videos}}


def dataset(folder: Path, videos: int = len(LENGTHS), spoilt: bool = False) -> Dataset:
    """Videos of random features, which are written where they are not there; spoilt: every third one has NaN."""
    items = []
    for number, length in enumerate(LENGTHS[:videos]):
        features, bad = activations((length, CONFIGS[SAME][0]["feature_dim"]), number), spoilt and number % 3 == 0
        path = folder / f"v{number}{'_bad' * bad}.npy"
        if bad:
            features[1, 2] = np.nan
        if not path.exists():
            np.save(path, features)
        video = Video(f"v{number}", "test", "Fight" if number % 2 else "Normal", 16 * length, ())
        share = np.linspace(-1, 1, length).clip(0) * (number % 2)
        items.append(Item(video, VideoFeatures((path,), (1, *features.shape), None), bool(number % 2), share))
    return Dataset("own", items)


def evaluations(backend: str, folder: Path) -> dict[str, Any]:
    return {"all videos": evaluate(backend, dataset(folder)), "one video": evaluate(backend, dataset(folder, 1)),
            "bad features": evaluate(backend, dataset(folder, spoilt=True)),
            "bad weights": evaluate(backend, dataset(folder), spoilt=True)}


FRAMES = {"a": 20, "b": 33, "c": 5, "d": 16}
"""Of the videos that are extracted; e is bad."""


def videos(folder: Path) -> None:
    """Write folders of pictures, a file that is no video, an extractor and its recipe."""
    rng = np.random.default_rng(0)
    for name, frames in FRAMES.items():
        (folder / "videos" / name).mkdir(parents=True)
        for number, picture in enumerate(rng.integers(0, 256, (frames, 16, 20, 3), np.uint8)):
            Image.fromarray(picture).save(folder / "videos" / name / f"{number}.png")
    (folder / "videos" / "e.mp4").write_text("no video")
    wv.create("clip-vit", resolution=16, patch=8, width=64, layers=1, heads=1, feature_dim=8).save(folder / "vit.safetensors")
    recipe = wv.video.find_recipe("vadclip").as_dict() | {"resize": "short side 16", "filter": "bilinear", "crop": 16}
    (folder / "own.json").write_text(json.dumps(recipe))


def extraction(backend: str, folder: Path, output: str) -> dict[str, Any]:
    """What `wvad extract` prints and logs, and the failure that it ends with."""
    printed, logged, failure = io.StringIO(), io.StringIO(), None
    handler = logging.StreamHandler(logged)
    logging.getLogger("wvad").addHandler(handler)
    try:
        with contextlib.redirect_stdout(printed):
            extract.main([str(folder / "videos"), "--recipe", str(folder / "own.json"), "--checkpoint", str(folder / "vit.safetensors"),
                          "--backend", backend, "--device", "cpu", "--output", str(folder / output)])
    except Failure as error:
        failure = str(error)
    finally:
        logging.getLogger("wvad").removeHandler(handler)
    return {"printed": printed.getvalue(), "logged": logged.getvalue(), "failure": failure}


def everything(backend: str, folder: Path, methods: Sequence[str], rank: int = 0, size: int = 1) -> dict[str, Any]:
    """All that is compared, on this one of several processes. methods: those that are trained."""
    found = {f"train {method}": train(method, CASES[method], backend, lambda given: given.shard(rank, size)) for method in methods}
    for name, options, deterministic in (("synchronised", Options(), True), ("device", DEVICE, True), ("random", DEVICE, False)):
        found[name] = train(SAME, CONFIGS[SAME][0], backend, lambda given: twice(given).shard(rank, size), options,
                            deterministic)
    found["items"] = train_on_items(backend, lambda given: given.shard(rank, size, halves=False))
    return found | evaluations(backend, folder)


def threads() -> list[str]:
    """Names of the threads of this process, on Linux."""
    tasks = Path("/proc/self/task")
    return [(task / "comm").read_text().strip() for task in (tasks.iterdir() if tasks.is_dir() else ())]


if __name__ == "__main__":
    signal.alarm(HANGS)
    rank = os.environ.get("RANK", "0")
    atexit.register(lambda: Path(sys.argv[2], f"{rank}.threads").write_text("\n".join(threads())))  # after the backend's
    sys.path.insert(0, str(Path(sys.argv[2], "site")))
    assert find_backend(sys.argv[1]).processes() == (0, 1), "nothing is joined without a word"
    rank, size = find_backend(sys.argv[1]).join("cpu")
    assert size > 1, "the launcher has not started several processes"
    found = everything(sys.argv[1], Path(sys.argv[2]), sys.argv[3:], rank, size)
    found["extraction"] = extraction(sys.argv[1], Path(sys.argv[2]), "shared")
    found["told to end"] = told_to_end(sys.argv[1], rank)
    print(f"what process {rank} prints")
    (Path(sys.argv[2]) / f"{rank}.pickle").write_bytes(pickle.dumps(found))
