"""What the golden cases of BN-WVAD hold beyond scores, losses and gradients: statistics, picks, crops as an axis."""
import numpy as np
import pytest
from test_golden import CASES, detector, having, tolerance, training_batch

import native
from compare import assert_close
from wvad_core.methods.bn_wvad import Config

WITH_CROPS = [name for name in having("scores_crops") if CASES[name].about["method"] == "bn-wvad"]


@pytest.mark.parametrize("name", having("running_"))
def test_running_statistics_after_a_training_forward(name, backend):
    case = CASES[name]
    trained = detector(case, backend)
    native.training_losses(trained, training_batch(case, backend))
    weights = trained.weights()
    for level in (1, 2):
        for statistic in ("mean", "var"):
            assert_close(weights[f"head.bn{level}.running_{statistic}"], case.outputs[f"running_{statistic}_{level}"],
                         tolerance(case, backend))
        assert weights[f"head.bn{level}.num_batches_tracked"] == 1


@pytest.mark.parametrize("name", having("n_selected"))
def test_picked_snippets(name, backend):
    case = CASES[name]
    levels, distances, screen = native.bn_wvad_training_forward(detector(case, backend), training_batch(case, backend))
    for i, (level, distance) in enumerate(zip(levels, distances)):
        half = len(level) // 2
        normal, abnormal, count = screen(distance[:half], distance[half:])
        assert count == case.outputs["n_selected"][i]
        for part, picks, which in ((level[:half], normal, "normal"), (level[half:], abnormal, "abnormal")):
            picked = part.reshape(-1, part.shape[-1])[picks[:count]]
            assert_close(picked.sum(), case.outputs[f"selected_{which}_sum"][i], tolerance(case, backend))


@pytest.mark.parametrize("name", having("normal_scores"))
def test_normal_scores_in_training(name, backend):
    case = CASES[name]
    normal = native.bn_wvad_normal_scores(detector(case, backend), training_batch(case, backend))
    assert_close(normal[:len(normal) // 2], case.outputs["normal_scores"], tolerance(case, backend))


@pytest.mark.parametrize("name", WITH_CROPS)
def test_crops_averaged_before_the_product(name, backend):
    """What the published network gives for crops as an axis has a name of its own."""
    case = CASES[name]
    features = case.inputs()["features_crops"].astype({"numpy": np.float64}.get(backend, np.float32))
    scores = native.bn_wvad_averaged_before_product(detector(case, backend), features)
    assert_close(scores, case.outputs["scores_crops"], tolerance(case, backend))


@pytest.mark.parametrize("name", WITH_CROPS)
def test_crops_are_scored_one_by_one_and_averaged(name, backend):
    """As the published evaluation does: crops as items, their scores averaged."""
    case = CASES[name]
    features, made = case.inputs()["features_crops"].astype({"numpy": np.float64}.get(backend, np.float32)), detector(
        case, backend)
    expected = np.stack([np.mean([made.score(crop) for crop in video], axis=0) for video in features])
    assert_close(np.stack([made.score(video) for video in features]), expected, tolerance(case, backend))
    assert_close(native.network_scores(made, features), expected, tolerance(case, backend))
    with pytest.raises(AssertionError):
        assert_close(native.bn_wvad_averaged_before_product(made, features), expected, 1e-3)


@pytest.mark.parametrize("videos, steps, expected", [
    (64, 200, (40, 5120)), (3, 9, (1, 10)), (2, 3, (0, 2)), (1, 1, (0, 0))])
def test_how_many_snippets_are_screened(videos, steps, expected):
    """int(0.2 T) of every abnormal video, and int(0.4 B T) of all of them together: rounded down once, not by video."""
    assert Config().screened(videos, steps) == expected
