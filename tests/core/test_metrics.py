"""wvad_core.scoring.metrics against scikit-learn on repeated frames, two naive definitions each, and properties."""

import warnings

import numpy as np
import pytest
import sklearn.metrics

from wvad_core.errors import InputError
from wvad_core.scoring import metrics

AREAS = (metrics.roc_auc, metrics.pr_auc, metrics.average_precision)
WEIGHTED = AREAS + (metrics.false_alarm_rate, metrics.roc_curve, metrics.precision_recall_curve)


def assert_close(actual, expected):
    """Same shape, then the same values to 1e-12; NaN never passes. Tuples are compared item by item."""
    if isinstance(expected, tuple):
        assert isinstance(actual, tuple) and len(actual) == len(expected)
        for one, other in zip(actual, expected):
            assert_close(one, other)
        return
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12, equal_nan=False)


@pytest.mark.parametrize("wrong", [
    pytest.param(lambda right: right + 1e-11, id="shifted"),
    pytest.param(lambda right: right[:-1], id="missing element"),
    pytest.param(lambda right: right.T, id="transposed"),
    pytest.param(lambda right: right[:1], id="would broadcast"),
    pytest.param(lambda right: np.where(right == right.max(), np.nan, right), id="NaN"),
])
def test_assert_close_fails_on_a_wrong_answer(wrong):
    right = np.linspace(0, 1, 6).reshape(2, 3)
    assert_close(right, right.copy())
    assert_close((right, 0.5), (right.copy(), 0.5))
    for actual, expected in ((wrong(right), right), ((0.5, wrong(right)), (0.5, right)), ((right,), (right, right))):
        with pytest.raises(AssertionError):
            assert_close(actual, expected)


def test_assert_close_fails_on_nan_against_nan():
    with pytest.raises(AssertionError):
        assert_close(np.nan, np.nan)


# Cases: (labels, scores, weights) of snippets. `levels` is the number of distinct scores at most.

CASES = {
    "few ties": dict(seed=0, snippets=60, levels=10**6, frames=16),
    "heavy ties": dict(seed=1, snippets=80, levels=5, frames=16),
    "two scores": dict(seed=2, snippets=50, levels=2, frames=16),
    "constant score": dict(seed=3, snippets=30, levels=1, frames=16),
    "short last snippets": dict(seed=4, snippets=70, levels=12, frames=(1, 17)),
    "weight 0 now and then": dict(seed=5, snippets=70, levels=12, frames=(0, 4)),
    "plain frames": dict(seed=6, snippets=200, levels=20, frames=1),
    "two snippets": dict(seed=8, snippets=2, levels=10, frames=16),
}


def snippets(seed, snippets, levels, frames):
    """Labels that cut through snippets, scores that know a little of them, frames for each snippet."""
    random = np.random.default_rng(seed)
    weights = np.full(snippets, frames) if np.isscalar(frames) else random.integers(*frames, size=snippets)
    abnormal = np.where(random.random(snippets) < 0.6, 0, random.integers(0, weights + 1))
    abnormal[0], abnormal[-1] = weights[0], 0
    labels = abnormal / np.maximum(weights, 1)
    scores = np.floor((random.random(snippets) + 0.3 * labels) / 1.3 * levels) / levels
    return labels, scores, weights.astype(float)


def repeated(labels, scores, weights):
    """The frames themselves: (0 or 1 for each frame, its score)."""
    abnormal, weights = np.rint(labels * weights).astype(int), weights.astype(int)
    truth = np.concatenate([np.arange(frames) < count for count, frames in zip(abnormal, weights)])
    return truth.astype(int), np.repeat(scores, weights)


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request):
    return snippets(**CASES[request.param])


# Against scikit-learn.


def sklearn_pr_auc(truth, scores):
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores)
    return sklearn.metrics.auc(recall, precision)


def test_areas_equal_scikit_learn_on_repeated_frames(case):
    frames = repeated(*case)
    assert_close(metrics.roc_auc(*case), sklearn.metrics.roc_auc_score(*frames))
    assert_close(metrics.pr_auc(*case), sklearn_pr_auc(*frames))
    assert_close(metrics.average_precision(*case), sklearn.metrics.average_precision_score(*frames))


def test_curves_equal_scikit_learn_on_repeated_frames(case):
    truth, scores = repeated(*case)
    *rates, thresholds = metrics.roc_curve(*case)
    *expected_rates, expected_thresholds = sklearn.metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert_close(tuple(rates), tuple(expected_rates))
    assert np.array_equal(thresholds, expected_thresholds)  # infinity included
    assert_close(metrics.precision_recall_curve(*case), sklearn.metrics.precision_recall_curve(truth, scores))


def test_real_weights_equal_scikit_learn():
    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 2, 300), random.integers(0, 30, 300) / 7
    weights = random.random(300) * (random.random(300) < 0.8)
    assert_close(metrics.roc_auc(truth, scores, weights),
                 sklearn.metrics.roc_auc_score(truth, scores, sample_weight=weights))
    precision, recall, _ = sklearn.metrics.precision_recall_curve(truth, scores, sample_weight=weights)
    assert_close(metrics.pr_auc(truth, scores, weights), sklearn.metrics.auc(recall, precision))
    assert_close(metrics.average_precision(truth, scores, weights),
                 sklearn.metrics.average_precision_score(truth, scores, sample_weight=weights))


def test_a_million_frames_equal_scikit_learn():
    random = np.random.default_rng(0)
    labels = random.integers(0, 17, 69_634) / 16 * (random.random(69_634) < 0.1)
    scores, weights = random.random(69_634).astype(np.float32), np.full(69_634, 16)
    frames = repeated(labels, scores, weights)
    assert_close(metrics.roc_auc(labels, scores, weights), sklearn.metrics.roc_auc_score(*frames))
    assert_close(metrics.pr_auc(labels, scores, weights), sklearn_pr_auc(*frames))
    assert_close(metrics.average_precision(labels, scores, weights),
                 sklearn.metrics.average_precision_score(*frames))


# Against two naive definitions each.


def points_by_brute_force(truth, scores):
    """(recall, precision, false-positive rate) at each distinct score, from the highest on, counted one by one."""
    points = []
    for threshold in sorted(set(scores), reverse=True):
        alarm = scores >= threshold
        points.append((np.mean(alarm[truth == 1]), np.mean(truth[alarm]), np.mean(alarm[truth == 0])))
    return points


def polygon_area(points):
    """Area of a closed polygon by the shoelace formula."""
    following = points[1:] + points[:1]
    return abs(sum(x * b - a * y for (x, y), (a, b) in zip(points, following))) / 2


def test_roc_auc_is_the_fraction_of_pairs_in_order(case):
    truth, scores = repeated(*case)
    difference = scores[truth == 1][:, None] - scores[truth == 0]
    assert_close(metrics.roc_auc(*case), np.mean((difference > 0) + 0.5 * (difference == 0)))


def test_roc_auc_is_the_trapezoid_over_all_thresholds(case):
    area, last_x, last_y = 0, 0, 0
    for y, _, x in points_by_brute_force(*repeated(*case)):
        area += (x - last_x) * (y + last_y) / 2
        last_x, last_y = x, y
    assert_close(metrics.roc_auc(*case), area)


def test_pr_auc_is_the_trapezoid_over_all_thresholds(case):
    area, last_x, last_y = 0, 0, 1
    for x, y, _ in points_by_brute_force(*repeated(*case)):
        area += (x - last_x) * (y + last_y) / 2
        last_x, last_y = x, y
    assert_close(metrics.pr_auc(*case), area)


def test_pr_auc_is_the_area_of_the_polygon_under_the_curve(case):
    curve = [(recall, precision) for recall, precision, _ in points_by_brute_force(*repeated(*case))]
    assert_close(metrics.pr_auc(*case), polygon_area([(0, 0), (0, 1), *curve, (1, 0)]))


def test_average_precision_is_the_sum_over_all_thresholds(case):
    total, last = 0, 0
    for recall, precision, _ in points_by_brute_force(*repeated(*case)):
        total, last = total + (recall - last) * precision, recall
    assert_close(metrics.average_precision(*case), total)


def test_average_precision_is_the_mean_precision_at_each_abnormal_frame(case):
    truth, scores = repeated(*case)
    at_frame = [np.mean(truth[scores >= score]) for score in scores[truth == 1]]
    assert_close(metrics.average_precision(*case), np.mean(at_frame))


def test_false_alarm_rate_counts_normal_frames_above_the_threshold(case):
    truth, scores = repeated(*case)
    for threshold in (0.0, 0.5, float(scores.max())):
        assert_close(metrics.false_alarm_rate(*case, threshold=threshold), np.mean(scores[truth == 0] > threshold))
    assert_close(metrics.false_alarm_rate([0, 0, 0, 1], [0.5, 0.6, 0.1, 0.9]), 1 / 3)


def test_video_accuracy_counts_right_videos():
    assert_close(metrics.video_accuracy([0, 0, 0, 1], [0.5, 0.5, 0.51, 0.51]), 0.75)
    assert_close(metrics.video_accuracy([True, False, False], [0.3, 0.1, 0.3], threshold=0.2), 2 / 3)


def test_pr_auc_and_average_precision_differ():
    labels, scores = [1, 0, 1, 0], [0.9, 0.8, 0.7, 0.6]
    assert_close(metrics.pr_auc(labels, scores), 0.5 + 0.5 * (1 / 2 + 2 / 3) / 2)
    assert_close(metrics.average_precision(labels, scores), 0.5 + 0.5 * 2 / 3)


def test_misranked_fraction_counts_pairs_in_the_wrong_order(case):
    """Frame by frame: labels of a snippet's frames are its abnormal ones first."""
    labels, scores, weights = case
    truth, of_frame = repeated(*case)
    wrong = np.empty(len(truth))
    for i, (label, score) in enumerate(zip(truth, of_frame)):
        others = of_frame[truth != label]
        worse = others > score if label else others < score
        wrong[i] = np.mean(worse + 0.5 * (others == score))
    snippet = np.repeat(np.arange(len(labels)), np.rint(weights).astype(int))
    expected = np.bincount(snippet, wrong, len(labels)) / np.maximum(weights, 1)
    assert_close(metrics.misranked_fraction(*case), expected)
    for label in (0, 1):
        assert_close(wrong[truth == label].mean(), 1 - metrics.roc_auc(*case))


def test_misranked_fraction_by_hand():
    labels, scores = [1, 0, 0.5, 0], [0.9, 0.9, 0.5, 0.1]  # 1.5 abnormal frames, 2.5 normal ones
    expected = [0.5 * 1 / 2.5, (0.5 * 1 + 0.5) / 1.5, 0.5 * (1 + 0.5 * 0.5) / 2.5 + 0.5 * (0.5 * 0.5) / 1.5, 0]
    assert_close(metrics.misranked_fraction(labels, scores), expected)
    assert np.isnan(metrics.misranked_fraction([0, 0], [1, 2])).all()


# Properties.


@pytest.mark.parametrize("metric", WEIGHTED)
def test_order_of_snippets_does_not_matter(metric, case):
    shuffle = np.random.default_rng(0).permutation(len(case[0]))
    assert_close(metric(*(values[shuffle] for values in case)), metric(*case))


@pytest.mark.parametrize("metric", AREAS)
@pytest.mark.parametrize("rising", [
    np.exp, lambda scores: 1e300 * (scores - 0.5), lambda scores: -1 / (scores + 1e-3),
])
def test_only_the_order_of_scores_matters(metric, rising, case):
    labels, scores, weights = case
    assert_close(metric(labels, rising(scores), weights), metric(*case))


def test_roc_auc_of_reversed_scores_is_the_rest(case):
    labels, scores, weights = case
    assert_close(metrics.roc_auc(labels, -scores, weights), 1 - metrics.roc_auc(*case))
    assert_close(metrics.roc_auc(1 - labels, scores, weights), 1 - metrics.roc_auc(*case))


@pytest.mark.parametrize("metric", AREAS + (metrics.false_alarm_rate,))
def test_a_snippet_twice_is_a_snippet_of_twice_the_weight(metric, case):
    labels, scores, weights = case
    times = np.random.default_rng(0).integers(1, 4, len(labels))
    assert_close(metric(*(np.repeat(values, times) for values in case)), metric(labels, scores, weights * times))


@pytest.mark.parametrize("metric", WEIGHTED)
def test_weight_0_counts_as_absent(metric):
    labels, scores, weights = snippets(**CASES["heavy ties"])
    extra = np.array([1.0, 0.0, 0.5, 1.0])
    padded = [np.append(labels, extra), np.append(scores, [9, -9, 0.31, scores[0]]), np.append(weights, 0 * extra)]
    assert_close(metric(*padded), metric(labels, scores, weights))


@pytest.mark.parametrize("metric", WEIGHTED)
def test_no_weights_are_equal_weights(metric, case):
    labels, scores, _ = case
    assert_close(metric(labels, scores), metric(labels, scores, np.full(len(labels), 16)))


def test_constant_scores_tell_nothing():
    labels, scores, weights = snippets(**CASES["constant score"])
    share = np.average(labels, weights=weights)
    assert_close(metrics.roc_auc(labels, scores, weights), 0.5)
    assert_close(metrics.average_precision(labels, scores, weights), share)
    assert_close(metrics.pr_auc(labels, scores, weights), (1 + share) / 2)


def test_perfect_scores_have_area_1(case):
    labels, _, weights = case
    whole = np.rint(labels)
    for metric in AREAS:
        assert metric(whole, whole, weights) == 1


def test_neighbouring_floats_are_not_tied():
    assert metrics.roc_auc([0, 1], [0.5, np.nextafter(0.5, 1)]) == 1
    assert metrics.roc_auc([0, 1], [-0.0, 0.0]) == 0.5
    assert metrics.roc_auc([0, 1], [-1.7e308, 1.7e308]) == 1


@pytest.mark.parametrize("metric", WEIGHTED)
def test_inputs_stay_untouched_and_may_be_read_only(metric, case):
    before = [values.copy() for values in case]
    for values in case:
        values.setflags(write=False)
    metric(*case)
    metrics.bootstrap_intervals(*case, videos=np.arange(len(case[0])), replicates=2)
    for values, expected in zip(case, before, strict=True):
        assert np.array_equal(values, expected)


def test_lists_integers_booleans_and_float32_are_accepted():
    assert metrics.roc_auc([True, False, True], [3, 2, 1], [1, 1, 1]) == 0.5
    assert metrics.roc_auc([1, 0, 1], np.array([3, 2, 1], np.float32)) == 0.5
    assert type(metrics.roc_auc([1, 0], [1, 0])) is float


# One class only.


def test_metrics_without_an_abnormal_frame():
    labels, scores = [0, 0, 0], [0.9, 0.6, 0.1]
    assert all(np.isnan(metric(labels, scores)) for metric in AREAS)
    assert "no abnormal frame" in metrics.undefined_reason(labels)
    assert_close(metrics.false_alarm_rate(labels, scores), 2 / 3)
    assert np.isnan(metrics.roc_curve(labels, scores)[1]).all()
    assert_close(metrics.roc_curve(labels, scores)[0], [0, 1 / 3, 2 / 3, 1])
    assert np.isnan(metrics.precision_recall_curve(labels, scores)[1]).all()


def test_metrics_without_a_normal_frame():
    labels, scores = [1, 1, 1], [0.9, 0.6, 0.1]
    assert np.isnan(metrics.roc_auc(labels, scores)) and np.isnan(metrics.false_alarm_rate(labels, scores))
    assert metrics.pr_auc(labels, scores) == metrics.average_precision(labels, scores) == 1
    assert "no normal frame" in metrics.undefined_reason(labels)
    assert np.isnan(metrics.roc_curve(labels, scores)[0]).all()


def test_undefined_reason_sees_the_frames_that_count():
    assert metrics.undefined_reason([0, 1]) is None
    assert metrics.undefined_reason([0.5]) is None
    assert "no abnormal frame" in metrics.undefined_reason([0, 1], [16, 0])
    assert "no normal frame" in metrics.undefined_reason([0, 1], [0, 16])


def test_one_class_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in WEIGHTED:
            metric([0, 0], [1, 2]), metric([1, 1], [1, 2])
        metrics.bootstrap_intervals([0, 0], [1, 2], None, [0, 1], replicates=3)


# The bootstrap.


def bootstrap_by_hand(labels, scores, weights, videos, replicates, seed, confidence):
    """Concatenate the drawn videos, call the metrics: (low, high) of each, and how many replicates were left out."""
    random, names, values = np.random.default_rng(seed), np.unique(videos), []
    for _ in range(replicates):
        drawn = names[random.integers(len(names), size=len(names))]
        rows = np.concatenate([np.flatnonzero(videos == name) for name in drawn])
        values.append([metric(labels[rows], scores[rows], weights[rows])
                       for metric in (metrics.roc_auc, metrics.pr_auc)])
    values = np.array(values)
    kept = values[np.isfinite(values[:, 0])]
    tails = 50 * (1 - confidence), 50 * (1 + confidence)
    return np.percentile(kept, tails, axis=0).T, replicates - len(kept)


def as_array(intervals):
    assert list(intervals) == ["auc", "ap"]
    return np.array([intervals["auc"], intervals["ap"]])


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_bootstrap_equals_a_loop_over_concatenated_videos(case, confidence):
    videos = np.sort(np.random.default_rng(0).integers(0, 12, len(case[0])))
    videos[0], videos[-1] = 0, 11
    actual = metrics.bootstrap_intervals(*case, videos, replicates=50, seed=3, confidence=confidence)
    # A video that is all weight 0 is absent from ours; drop it by hand before the loop.
    counted = case[2] > 0
    expected, _ = bootstrap_by_hand(*(values[counted] for values in (*case, videos)), 50, 3, confidence)
    assert_close(as_array(actual), expected)


def test_bootstrap_leaves_out_replicates_of_one_class():
    labels, scores = np.array([1.0, 0.2, 0.0, 0.0]), np.array([0.4, 0.9, 0.5, 0.1])
    weights, videos = np.full(4, 10.0), np.array([0, 0, 1, 2])
    expected, left_out = bootstrap_by_hand(labels, scores, weights, videos, 40, 0, 0.95)
    assert 0 < left_out < 40
    assert_close(as_array(metrics.bootstrap_intervals(labels, scores, weights, videos, 40)), expected)


def test_bootstrap_of_one_class_is_nan():
    intervals = metrics.bootstrap_intervals([0, 0, 0], [1, 2, 3], None, [0, 1, 2], replicates=5)
    assert np.isnan(as_array(intervals)).all()


def test_bootstrap_repeats_with_its_seed_and_only_with_it():
    case = snippets(**CASES["few ties"])
    videos = np.arange(60) // 4
    first, again, other = (metrics.bootstrap_intervals(*case, videos, 30, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_bootstrap_covers_the_point_estimate():
    case = snippets(seed=7, snippets=600, levels=1000, frames=16)
    intervals = metrics.bootstrap_intervals(*case, np.arange(600) // 10)
    assert intervals["auc"][0] < metrics.roc_auc(*case) < intervals["auc"][1]
    assert intervals["ap"][0] < metrics.pr_auc(*case) < intervals["ap"][1]


def test_bootstrap_of_identical_videos_has_no_width():
    case = [np.tile(values, 5) for values in snippets(**CASES["heavy ties"])]
    intervals = metrics.bootstrap_intervals(*case, np.repeat(np.arange(5), 80), replicates=20)
    assert_close(as_array(intervals), [[metrics.roc_auc(*case)] * 2, [metrics.pr_auc(*case)] * 2])


def test_bootstrap_takes_names_and_any_order_of_snippets():
    case = snippets(**CASES["short last snippets"])
    videos, shuffle = np.arange(70) // 7, np.random.default_rng(0).permutation(70)
    names = np.array([f"Video{index:03d}" for index in videos])
    expected = as_array(metrics.bootstrap_intervals(*case, videos, 20))
    assert_close(as_array(metrics.bootstrap_intervals(*case, names, 20)), expected)
    assert_close(as_array(metrics.bootstrap_intervals(*(values[shuffle] for values in (*case, videos)), 20)), expected)


def test_bootstrap_does_not_draw_videos_of_weight_0():
    labels, scores, weights = snippets(**CASES["few ties"])
    videos = np.arange(60) // 4
    expected = as_array(metrics.bootstrap_intervals(labels, scores, weights, videos, 20))
    padded = [np.append(values, extra) for values, extra in
              ((labels, [1, 0]), (scores, [5, -5]), (weights, [0, 0]), (videos, [3, 99]))]
    assert_close(as_array(metrics.bootstrap_intervals(*padded, 20)), expected)


# Bad input.

BAD = {
    "no snippet": ([], [], None, "at least 1"),
    "other length of scores": ([0, 1, 1], [0.1, 0.2], None, r"labels \(3,\), scores \(2,\)"),
    "other length of weights": ([0, 1], [0.1, 0.2], [1, 1, 1], r"weights \(3,\)"),
    "two axes": ([[0, 1]], [[0.1, 0.2]], None, r"\(1, 2\)"),
    "no axis": (1, 0.5, None, r"labels \(\)"),
    "scores would broadcast": ([0, 1], [0.1], None, "one length"),
    "NaN score": ([0, 1], [0.1, np.nan], None, r"scores\[1\]: found nan"),
    "infinite score": ([0, 1], [-np.inf, 0.1], None, r"scores\[0\]: found -inf"),
    "NaN label": ([np.nan, 1], [0.1, 0.2], None, r"labels\[0\]: found nan"),
    "label above 1": ([0, 16], [0.1, 0.2], None, r"labels\[1\]: found 16"),
    "label below 0": ([-1, 1], [0.1, 0.2], None, r"labels\[0\]: found -1"),
    "negative weight": ([0, 1], [0.1, 0.2], [16, -1], r"weights\[1\]: found -1"),
    "NaN weight": ([0, 1], [0.1, 0.2], [16, np.nan], r"weights\[1\]: found nan"),
    "infinite weight": ([0, 1], [0.1, 0.2], [16, np.inf], r"weights\[1\]: found inf"),
    "no frame": ([0, 1], [0.1, 0.2], [0, 0], "0 frames in all"),
    "words": (["normal", "abnormal"], [0.1, 0.2], None, "labels: .* than numbers"),
    "ragged": ([0, 1], [[0.1], [0.1, 0.2]], None, "scores: .* than numbers"),
}


@pytest.mark.parametrize("metric", WEIGHTED + (lambda *case: metrics.bootstrap_intervals(*case, [0, 1], 2),))
@pytest.mark.parametrize("bad", BAD, ids=lambda name: name.replace(" ", "-"))
def test_bad_input_is_refused_in_one_line(metric, bad):
    *case, message = BAD[bad]
    with pytest.raises(InputError, match=message) as error:
        metric(*case)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("arguments", [
    dict(videos=[0, 1, 2]), dict(videos=[[0, 1]]), dict(replicates=0), dict(confidence=0), dict(confidence=1),
    dict(confidence=np.nan),
], ids=str)
def test_bootstrap_refuses_bad_settings(arguments):
    with pytest.raises(InputError):
        metrics.bootstrap_intervals([0, 1], [0.1, 0.2], None, **{"videos": [0, 1], **arguments})


@pytest.mark.parametrize("labels, scores", [([0, 0.5], [0.1, 0.2]), ([0, 1], [0.1, np.nan]), ([0, 1], [0.1]), ([], [])])
def test_video_accuracy_refuses_bad_input(labels, scores):
    with pytest.raises(InputError):
        metrics.video_accuracy(labels, scores)


@pytest.mark.parametrize("labels, weights", [([], None), ([2], None), ([0, 1], [1]), ([0, 1], [1, -1]), ([0], [0])])
def test_undefined_reason_refuses_bad_input(labels, weights):
    with pytest.raises(InputError):
        metrics.undefined_reason(labels, weights)
