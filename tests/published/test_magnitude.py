"""What the golden cases of the methods that learn from feature magnitudes hold beyond scores and losses."""
from functools import lru_cache

import numpy as np
import pytest
from test_golden import CASES, DTYPE, detector, expected_losses, fresh, having, published, tolerance, training_batch

import native
from compare import SPECIFICATION, assert_close
from wvad_core.registry import specification

METHODS = ("rtfm", "s3r", "ssrl")


def of_methods(output: str, given: str) -> list:
    """The cases; the largest, whose losses and gradients test_golden.py has, for --slow."""
    return [pytest.param(name, marks=pytest.mark.slow if name == "ssrl_stage3_train" else [])
            for name in having(output, given) if CASES[name].about["method"] in METHODS]


@pytest.mark.parametrize("name", of_methods("feature_magnitudes", "features"))
def test_magnitudes_in_evaluation(name, backend):
    check_branches(name, backend, False)


@pytest.mark.parametrize("name", of_methods("scores", "batch"))
def test_scores_and_magnitudes_in_training(name, backend):
    check_branches(name, backend, True)


@lru_cache(maxsize=1)
def branches(name: str, backend: str, training: bool) -> tuple[np.ndarray, np.ndarray]:
    """Scores and magnitudes (B, T) of the case's training batch, or of its videos in evaluation."""
    case = CASES[name]
    features = training_batch(case, backend).features if training else case.inputs()["features"]
    return native.magnitude_branches(detector(case, backend), features.astype(DTYPE.get(backend, np.float32)), training)


def check_branches(name: str, backend: str, training: bool) -> None:
    case = CASES[name]
    for key, values in zip(("scores", "feature_magnitudes"), branches(name, backend, training)):
        if key in case.outputs:
            assert_close(values.reshape(case.outputs[key].shape), case.outputs[key], tolerance(case, backend), name=key)


@pytest.mark.parametrize("name", of_methods("score_abnormal", "batch"))
def test_the_snippets_that_stand_for_a_video(name, backend):
    case = CASES[name]
    scores, magnitudes = branches(name, backend, True)
    config = specification(case.about["method"]).Config(**case.about["config"])
    picks = np.argsort(-magnitudes, axis=1)[:, :config.selected(scores.shape[1])]
    of_videos = np.take_along_axis(scores, picks, 1).mean(1)
    expected = np.concatenate([case.outputs["score_normal"], case.outputs["score_abnormal"]])
    assert picks.shape[1] == 3
    assert_close(of_videos, expected, tolerance(case, backend))


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", [pytest.param("rtfm_train", marks=pytest.mark.slow), "s3r_train", "s3r_train_margin"])
def test_gradients_in_float64(name):
    """Without the rounding that puts a pre-activation of 1e-7 on the other side of a ReLU.

    ssrl_stage3_train holds too, to 2e-14, and takes minutes.
    """
    import torch

    case = CASES[name]
    network = fresh(case, "torch").network.double().train()
    for module in native.dropouts(network):
        module.eval()
    terms = network.losses(training_batch(case, "numpy"))
    terms["total"].backward()
    for key, value in expected_losses(case).items():
        assert_close(terms[key].item(), value, SPECIFICATION, name=key)
    for theirs, ours in published(case).names.items():
        if f"grad:{theirs}" in case.outputs:
            gradient = network.get_parameter(ours).grad
            norm = 0.0 if gradient is None else torch.linalg.vector_norm(gradient).item()
            assert_close(norm, case.outputs[f"grad:{theirs}"], SPECIFICATION, name=ours)
