"""What the golden case of SAA holds beyond scores: attention and raw scores apart; kernels in MindSpore's shape."""
import numpy as np

import native
import wvad_core as wv
from compare import assert_close
from test_golden import CASES, detector, tolerance

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
