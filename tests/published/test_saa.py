"""What the golden case of SAA holds beyond scores: attention and raw scores apart; kernels in MindSpore's shape.

And its loss terms, which the published code does not have: on videos small enough to compute them by hand.
"""
from math import log

import devices
import numpy as np
import pytest
from test_golden import CASES, detector, tolerance

import native
import wvad_core as wv
from compare import OUTPUT, assert_all_close, assert_close
from wvad_core.backend import find_backend

CASE = CASES["saa_eval"]


def test_attention_and_raw_scores(backend):
    attention, raw = native.saa_branches(detector(CASE, backend), CASE.inputs()["features"])
    assert_close(attention, CASE.outputs["attention"], tolerance(CASE, backend))
    assert_close(raw, CASE.outputs["raw_scores"], tolerance(CASE, backend))


def test_a_checkpoint_with_biases_is_taken():
    state = CASE.weights() | {"attn.attention.5.bias": np.full(1, -3, np.float32)}
    with_bias = wv.from_published("saa", state, **CASE.about["config"])
    assert with_bias.weights()["attention.conv3.bias"] == -3
    video = CASE.inputs()["features"][0]
    assert with_bias.score(video).sum() < 0.5 * detector(CASE, "numpy").score(video).sum()


# Two normal and two abnormal videos of 16 snippets, as attention A and raw scores S; the last number fills a video up.
# The 16 // 16 + 1 = 2 largest stand for a video. theta = min A + 0.2 (max A - min A) is 0.26, 0.14, 0.26, 0.28.
A = ([0.5, 0.9, 0.1], [0.3, 0.1, 0.2, 0.1], [0.9, 0.8, 0.2, 0.1], [0.2, 0.6, 0.2])
S = ([0.6, 0.2, 0.1], [0.4, 0.7, 0.3, 0.2], [0.7, 0.4, 0.9, 0.1], [0.8, 0.4, 0.3])


def passing_through(backend: str, step: int) -> wv.Detector:
    """A network whose attention is sigmoid(x_0 - 10) and whose raw score is sigmoid(x_1 - 10), for features x >= 0.

    Its aggregation adds nothing to the features, its convolutions and linear layers hand on one channel.
    """
    made = wv.create("saa", backend="numpy", feature_dim=8, attention_dim=1, hidden_dims=(1, 1))
    weights = {name: value if "running" in name else np.zeros_like(value) for name, value in made.weights().items()}
    weights["attention.conv1.weight"][0, 0, 1] = weights["attention.conv2.weight"][0, 0, 1] = 1
    weights["attention.conv3.weight"][0, 0, 0] = weights["classifier.fc1.weight"][0, 1] = 1
    weights["classifier.fc2.weight"][0, 0] = weights["classifier.fc3.weight"][0, 0] = 1
    weights["attention.conv3.bias"][0] = weights["classifier.fc3.bias"][0] = -10
    found = find_backend(backend)
    network = found.build("saa", made.config, weights, devices.of(backend), "float32", 0)
    network.memory.restore({"steps": np.array(step)})
    return wv.Detector("saa", made.config, backend, found, network)


def batch_by_hand() -> wv.Batch:
    """An abnormal video first, so that the labels alone say which is which."""
    features = np.zeros((4, 16, 8), np.float32)
    for channel, videos in enumerate((A, S)):
        for row, values in zip(features, videos):
            p = np.array(values + values[-1:] * (16 - len(values)))
            row[:, channel] = 10 + np.log(p / (1 - p))
    return wv.Batch(features[[2, 0, 3, 1]], [1, 0, 1, 0])


def cross_entropy(*videos: float) -> float:
    """-log(1 - p) of the two normal videos, -log p of the two abnormal ones, averaged."""
    return -(log(1 - videos[0]) + log(1 - videos[1]) + log(videos[2]) + log(videos[3])) / 4


@pytest.mark.parametrize("step, guide", [  # counted from 0: the first 400 are guided by S, the others by [S > 0.5]
    (0, (1.20 + 0.27 + 0.69 + 0.54) / 64), (399, (1.20 + 0.27 + 0.69 + 0.54) / 64),
    (400, (1.20 + 0.27 + 1.42 + 1.56) / 64)])
def test_loss_terms_by_hand(backend, step, guide):
    """By the formulas of the paper, S_a = A S; fixed numbers, none of which a backend has computed."""
    plain = cross_entropy(0.40, 0.55, 0.80, 0.60) + cross_entropy(0.24, 0.095, 0.475, 0.20)        # S and S_a
    suppressed = cross_entropy(0.10, 0.45, 0.50, 0.55) + cross_entropy(0.01, 0.045, 0.095, 0.11)  # where A < theta
    expected = {"classification": 0.8 * plain + 0.2 * suppressed, "guide": guide,
                "norm": (3.2 + 3.6) / 32,                                 # sums of A
                "smooth": (0.98 + 0.17 + 0.1446 + 0.0388) / 2,            # of S, twice, and of S_a
                "sparse": (3.3 + 5.4) / 32 + (1.26 + 1.24) / 32}          # sums of S and of S_a
    expected["total"] = (expected["classification"] + expected["guide"] + 0.8 * expected["norm"]
                         + 0.01 * expected["smooth"] + 0.01 * expected["sparse"])
    found = passing_through(backend, step).losses(batch_by_hand(), deterministic=True)
    assert_all_close(found, expected, OUTPUT)


def test_a_constant_attention_suppresses_everything_and_counts_nothing(backend):
    """A = 0.5 throughout leaves nothing below theta = 0.5: the branches without the most anomalous snippets are 0."""
    features = np.zeros((2, 16, 8), np.float32)
    features[..., :2] = 10
    found = passing_through(backend, 0).losses(wv.Batch(features, [0, 1]), deterministic=True)
    expected = 0.8 * (log(2) + -(log(0.75) + log(0.25)) / 2)
    assert_close(found["classification"], expected, OUTPUT)
