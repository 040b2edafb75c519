"""What the golden cases of UR-DMU hold beyond scores and losses: attentions, distance, sampling noise, crops as an axis."""
import dataclasses

import devices
import numpy as np
import pytest
from test_golden import (
    CASES,
    DTYPE,
    assert_gradient_norms,
    detector,
    expected_losses,
    having,
    tolerance,
    training_batch,
)

import native
import wvad_core as wv
from compare import assert_all_close, assert_close

NOISY = CASES["ur_dmu_train_noise"]
TRAINING = [name for name in having("frame") if CASES[name].about["method"] == "ur-dmu"]


def noiseless_or_noisy(case, backend: str) -> wv.Detector:
    """Without dropout, and with the case's sampling noise: what the published code was run with."""
    made = detector(dataclasses.replace(case, about=case.about | {"config": case.about["config"] | {"dropout": 0}}), backend)
    videos, steps = (size // 2 if i == 0 else size for i, size in enumerate(case.inputs()["batch"].shape[:2]))
    native.set_noise(made, case.outputs.get("noise", np.zeros((videos, steps, made.config.channels))))
    return made


@pytest.mark.parametrize("name", TRAINING)
def test_scores_and_attentions_in_training(name, backend):
    case = CASES[name]
    scores, a, n = native.ur_dmu_outputs(noiseless_or_noisy(case, backend), training_batch(case, backend))
    half = len(scores) // 2
    found = {"frame": scores, "A_att": a[half:], "N_att": n[:half], "A_Natt": a[:half], "N_Aatt": n[half:]}
    expected = {key: case.outputs[key] for key in found if key in case.outputs}
    assert_all_close({key: found[key] for key in expected}, expected, tolerance(case, backend))


@pytest.mark.parametrize("name", TRAINING)
def test_loss_terms_with_the_noise_given(name, backend):
    case = CASES[name]
    found = noiseless_or_noisy(case, backend).losses(training_batch(case, backend))
    expected = expected_losses(case) | {"distance": case.outputs["distance"]}
    assert_all_close(found, expected, tolerance(case, backend))
    for key, term in (("triplet_margin", "triplet"), ("kl_loss", "kl")):
        assert_close(found[term], case.outputs[key], tolerance(case, backend))


def test_norm_of_every_gradient_with_the_noise_given(framework):
    found = noiseless_or_noisy(NOISY, framework).gradients(training_batch(NOISY, framework))
    assert_gradient_norms(found, NOISY)


def test_noise_of_another_video_is_noticed(backend):
    turned = dataclasses.replace(NOISY, outputs=NOISY.outputs | {"noise": NOISY.outputs["noise"][::-1]})
    scores = native.ur_dmu_outputs(noiseless_or_noisy(turned, backend), training_batch(NOISY, backend))[0]
    with pytest.raises(AssertionError, match="error"):
        assert_close(scores, NOISY.outputs["frame"], tolerance(NOISY, backend))


@pytest.mark.parametrize("backend_seeds", [(0, 0), (0, 1)])
def test_the_noise_is_standard_normal_and_seeded(backend, backend_seeds):
    """Without dropout the sampling noise is all that the seed changes."""
    config = {"feature_dim": 8, "channels": 8, "depth": 1, "heads": 1, "head_dim": 8, "feed_forward_dim": 8, "dropout": 0}
    batch = wv.Batch(np.ones((2, 5, 8), np.float32), np.array([0, 1]))
    weights = wv.create("ur-dmu", **config).weights()
    found = []
    for seed in backend_seeds:
        made = wv.create("ur-dmu", backend, **config)
        made = wv.Detector("ur-dmu", made.config, backend, made.backend,
                           made.backend.build("ur-dmu", made.config, weights, devices.of(backend), "float32", seed))
        found.append(made.losses(batch)["distance"])
    assert (found[0] == found[1]) == (backend_seeds[0] == backend_seeds[1])


@pytest.mark.parametrize("name", [name for name in having("scores_crops") if name.startswith("ur_dmu")])
def test_crops_as_an_axis_are_averaged_within(name, backend):
    case = CASES[name]
    features = case.inputs()["features_crops"].astype(DTYPE.get(backend, np.float32))
    scores = native.network_scores(detector(case, backend), features)
    assert_close(scores, case.outputs["scores_crops"], tolerance(case, backend))
