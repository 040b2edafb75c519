"""Makes the weights of `wvad demo --video`: its extractor, and a detector on that one's features.

The extractor, a small C3D, learns on drawn scenes which activities each clip of 16 frames shows (walking, cycling, fighting, a car
on the road, ...): what Kinetics is to a published one. The detector then learns from one label a video, and its threshold is
chosen on normal videos. The scenes of the three steps, and those of the demo, are of different seeds.

Run: python docs/make_video_demo.py FOLDER [draw] [extractor] [write] [detector]     about half an hour on two cores, with PyTorch
"""
from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import wvad_core as wv
from wvad_core.cli import calibrate, extract, train
from wvad_core.data.annotations import COLUMNS, FRAME_RATE, Video
from wvad_core.scoring import metrics
from wvad_core.video_demo.scenes import ACTIVITIES, KINDS, Scene
from wvad_core.video_demo.videos import DETECTOR, EXTRACTOR, RECIPE, RECIPE_FILE, write_video

SCENES, SECONDS, HELD_OUT = 400, 10.0, 40
SEEDS = {"extractor": 1_000_000, "train": 2_000_000, "test": 3_000_000, "calibration": 4_000_000}
"""The first of each step; the demo's are below."""
SMALL = {"channels": (8, 16, 32, 48, 48), "feature_dim": 64, "resolution": 64, "classes": len(ACTIVITIES), "scale": "symmetric"}
EPOCHS, BATCH, RATE = 6, 16, 2e-3
METHOD, FALSE_ALARMS = "ar-net", "5"
SETTINGS = ["feature_dim=64", "segments=32", "steps=200", "evaluate_every=50"]
VIDEOS = {"train": 80, "test": 30, "calibration": 60}
SEEN = 4
"""Frames of a clip from which on an activity counts as shown."""


def clips_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    """The clips of a scene, (T, 16, 64, 64, 3) uint8, and which activities each shows, (T, activities)."""
    kind = (*KINDS, None)[number % (len(KINDS) + 1)]
    labels = []

    def frames():
        for frame, seen in Scene.drawn(SEEDS["extractor"] + number, kind, SECONDS).shown():
            labels.append([activity in seen for activity in ACTIVITIES])
            yield frame

    clips = np.concatenate(list(wv.video.snippets(frames(), RECIPE)))
    counts = [np.sum(labels[start:start + 16], axis=0) for start in range(0, len(labels), 16)]
    return clips, np.array(counts) >= SEEN


def draw(folder: Path) -> None:
    """Write the extractor's clips and labels."""
    with ProcessPoolExecutor(2) as processes:
        clips, labels = zip(*processes.map(clips_of, range(SCENES)))
    np.savez(folder / "labels.npz", labels=np.concatenate(labels), held_out=len(np.concatenate(labels[:HELD_OUT])))
    np.save(folder / "clips.npy", np.concatenate(clips))


def train_extractor(folder: Path) -> None:
    """Binary cross-entropy of all activities; mirrored, moved and lit at random."""
    import torch
    from torch import nn

    stored, clips = np.load(folder / "labels.npz"), np.load(folder / "clips.npy", mmap_mode="r")
    labels, held_out = torch.from_numpy(stored["labels"].astype(np.float32)), int(stored["held_out"])
    extractor = wv.create("c3d", "torch", device="cpu", seed=0, **SMALL)
    network, rng = extractor.network.train(), np.random.RandomState(0)
    torch.manual_seed(0)
    for layer in network.modules():
        if getattr(layer, "weight", None) is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    count = len(labels) - held_out
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    steps = EPOCHS * (count // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
    for epoch in range(EPOCHS):
        order, losses = held_out + rng.permutation(count), []
        for start in range(0, count // BATCH * BATCH, BATCH):
            rows = np.sort(order[start:start + BATCH])
            given = torch.from_numpy(augmented(clips[rows], rng))
            loss = nn.functional.binary_cross_entropy_with_logits(network.logits(given), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        found = checked(network, clips[:held_out], labels[:held_out])
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}; AUC of clips held out: {found}", flush=True)
    network.eval()
    extractor.save(EXTRACTOR)


def augmented(clips: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """(B, 16, H, W, 3) uint8 -> (B, 3, 16, H, W) float32."""
    x = clips.astype(np.float32) * (2 / 255) - 1
    for one in x:
        if rng.random_sample() < 0.5:
            one[:] = one[:, :, ::-1].copy()
        one[:] = np.roll(one, rng.randint(-4, 5, 2), (1, 2))
    x *= rng.uniform(0.85, 1.15, (len(x), 1, 1, 1, 3)).astype(np.float32)
    x += rng.uniform(-0.1, 0.1, (len(x), 1, 1, 1, 1)).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(x, -1, 1), np.float32)


def checked(network, clips: np.ndarray, labels) -> str:
    """The AUC of each activity."""
    import torch

    with torch.no_grad():
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(clips.astype(np.float32) * (2 / 255) - 1, -1, 1)))
        found = torch.cat([network.logits(part) for part in x.split(BATCH)]).numpy()
    aucs = {name: metrics.roc_auc(labels[:, i].numpy(), found[:, i]) for i, name in enumerate(ACTIVITIES)
            if 0 < labels[:, i].sum() < len(labels)}
    return ", ".join(f"{name} {auc:.3f}" for name, auc in aucs.items())


def written(job: tuple[Path, str | None, int]) -> Video:
    path, kind, seed = job
    return write_video(path, Scene.drawn(seed, kind, seconds_of(seed)))


def seconds_of(seed: int) -> float:
    """How long a video is."""
    return 20 + 12 * np.random.RandomState(seed).random_sample()


def jobs_of(folder: Path, split: str) -> list[tuple[Path, str | None, int]]:
    """The videos of a split: every second one abnormal, the kinds in turn; those of the calibration are all normal."""
    kinds = [KINDS[i // 2 % len(KINDS)] if i % 2 and split != "calibration" else None for i in range(VIDEOS[split])]
    return [(folder / split / f"{split}-{i:03}.mp4", kind, SEEDS[split] + i) for i, kind in enumerate(kinds)]


def write_videos(folder: Path) -> None:
    """Write the detector's videos, and their table, in which training videos have no intervals."""
    lines = [",".join((*COLUMNS, FRAME_RATE))]
    with ProcessPoolExecutor(2) as processes:
        for split in VIDEOS:
            for video in processes.map(written, jobs_of(folder, split)):
                spans = " ".join(f"{start}-{end}" for start, end in video.intervals) if split == "test" else ""
                if split != "calibration":
                    lines.append(f"{video.name},{split},{video.category},{video.frames},{spans},{video.frame_rate}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")


def train_detector(folder: Path) -> None:
    """From one label a video, by the commands that anybody has; then its threshold, on normal videos."""
    def features(name: str, *splits: str) -> str:
        videos = [str(folder / split) for split in splits]
        extract.main([*videos, "--recipe", str(RECIPE_FILE), "--checkpoint", str(EXTRACTOR), "--output", str(folder / name)])
        return str(folder / name)

    run = folder / "run"
    train.main(["--method", METHOD, "--dataset", str(folder / "table.csv"),
                "--features", features("features", "train", "test"), "--recipe", "demo", "--backend", "torch", "--device", "cpu", "--output", str(run), *SETTINGS])
    calibrate.main(["--checkpoint", str(run / "last.safetensors"), "--backend", "numpy", "--false-alarms-per-hour", FALSE_ALARMS,
                    "--normal", features("normal", "calibration"), "--output", str(DETECTOR)])


STEPS = {"draw": draw, "extractor": train_extractor, "write": write_videos, "detector": train_detector}


def main(folder: str, *steps: str) -> None:
    for step in steps or STEPS:
        STEPS[step](Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
