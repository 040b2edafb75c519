"""What the golden cases of AR-Net hold beyond scores and losses: hidden features, the packed LSTM, BaS-Net's branches."""
import numpy as np
import pytest
from test_golden import CASES, DTYPE, assert_gradient_norms, detector, having, tolerance, training_batch

import native
import wvad_core as wv
from compare import OUTPUT, assert_all_close, assert_close
from wvad_core.methods.ar_net import VARIANTS

LSTM, BAS = CASES["ar_net_lstm"], CASES["ar_net_bas"]
HIDDEN = [name for name in having("features", "features") if name.startswith("ar_net")]


def drawn(case, name: str, backend: str) -> np.ndarray:
    return case.inputs()[name].astype(DTYPE.get(backend, np.float32))


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_features(name, backend):
    case = CASES[name]
    hidden = native.ar_net_hidden(detector(case, backend), drawn(case, "features", backend))
    assert_close(hidden, case.outputs["features"], tolerance(case, backend))


def test_every_variant_with_hidden_features_has_a_case():
    assert [CASES[name].about["config"]["variant"] for name in HIDDEN] == sorted(set(VARIANTS) - {"bas"})


def test_packed_scores_of_the_lstm(backend):
    batch = training_batch(LSTM, backend)
    scores = native.ar_net_packed_scores(detector(LSTM, backend), batch)
    assert_close(scores, LSTM.outputs["batch_scores"], tolerance(LSTM, backend))
    for row, length in zip(scores, batch.lengths):
        assert len(np.unique(row[length:])) == (length < len(row)), "sigmoid(classifier bias) behind the length"


def test_gradients_of_the_packed_lstm(framework):
    found = native.ar_net_gradients_of_packed_scores(detector(LSTM, framework), training_batch(LSTM, framework))
    assert_gradient_norms(found, LSTM)


def test_branches_of_background_suppression(backend):
    found = native.ar_net_branches(detector(BAS, backend), drawn(BAS, "segments", backend))
    assert_all_close(found, BAS.outputs, tolerance(BAS, backend))


def test_scores_of_background_suppression(backend):
    """One minus the softmax of the last class, of the suppressed activations."""
    powers = np.exp(BAS.outputs["cas_suppressed"])
    expected = 1 - powers[..., -1] / powers.sum(-1)
    made = detector(BAS, backend)
    scores = np.stack([made.score(video) for video in drawn(BAS, "segments", backend)])
    assert_close(scores, expected, tolerance(BAS, backend))


def test_losses_of_background_suppression(backend):
    """By hand from the published branches: the first video normal, the second abnormal."""
    made, segments = detector(BAS, backend), drawn(BAS, "segments", backend)[:2]
    terms = made.losses(wv.Batch(segments, [0, 1]), deterministic=True)
    expected = {}
    for name, background in (("base", 1), ("suppressed", 0)):
        p = BAS.outputs[f"score_{name}"][:2]
        labels = np.array([[0, 0, 0, background], [1, 1, 1, background]])
        expected[name] = -np.log(np.where(labels == 1, p, 1 - p)).mean()
    expected["norm"] = BAS.outputs["foreground"][:2, :, 0].sum() / 2
    expected["total"] = expected["base"] + expected["suppressed"] + 1e-4 * expected["norm"]
    assert_all_close(terms, expected, tolerance(BAS, backend))


@pytest.mark.parametrize("variant", ["linear", ""])
def test_an_unknown_variant_is_refused(variant):
    with pytest.raises(wv.InputError, match="expected one of single, mean, sequence, concatenate, lstm, bas, found"):
        wv.create("ar-net", variant=variant)


def test_losses_of_single_snippets(backend):
    """The published variance of one score is NaN; here it is 0, and the rest is there."""
    made = wv.create("ar-net", backend=backend, feature_dim=8)
    features = np.random.default_rng(0).random((4, 1, 8), np.float32)
    terms = made.losses(wv.Batch(features, [0, 0, 1, 1]), deterministic=True)
    scores = np.concatenate([made.score(video) for video in features])
    assert terms["center"] == 0
    assert_close(terms["mil"], -np.log([1 - scores[0], 1 - scores[1], scores[2], scores[3]]).mean(), OUTPUT)
    assert_close(terms["total"], terms["mil"], OUTPUT)


def test_crops_have_their_videos_length(backend):
    """The picks of a video with two crops are those of the two crops, each as long as the video."""
    made = wv.create("ar-net", backend=backend, feature_dim=8)
    features = np.random.default_rng(0).random((2, 2, 9, 8), np.float32)
    features[1, :, 5:] = 0
    terms = made.losses(wv.Batch(features, [0, 1]), deterministic=True)
    apart = wv.Batch(features.reshape(4, 9, 8), [0, 0, 1, 1], lengths=[9, 9, 5, 5])
    assert_all_close(terms, made.losses(apart, deterministic=True), OUTPUT)
