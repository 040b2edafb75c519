"""What the golden cases of ADPLG hold beyond scores, losses and gradients; and the memory of its pseudo labels."""
import dataclasses

import devices
import numpy as np
import pytest
from test_golden import CASES, DTYPE, assert_gradient_norms, detector, tolerance, training_batch

import native
import wvad_core as wv
from compare import OUTPUT, SPECIFICATION, assert_all_close, assert_close
from wvad_core.methods import adplg

EVALUATED, VIDEO, LABELS = (CASES[f"adplg_{name}"] for name in ("snippet_eval", "video_train", "pseudo_labels"))
SMALL = {"feature_dim": 6, "hidden": 4, "channels": 4, "window_sizes": (2,), "local_heads": 1, "local_head_dim": 4,
         "positions": 50, "num_segments": 8, "depth": 1, "heads": 1, "head_dim": 4, "feed_forward_dim": 4,
         "classifier_dim": 4}


def test_local_outputs(backend):
    found = native.adplg_local_outputs(detector(EVALUATED, backend), EVALUATED.inputs()["features"].astype(
        DTYPE.get(backend, np.float32)))
    for i, output in enumerate(found):
        assert_close(output, EVALUATED.outputs[f"local_{i}"], tolerance(EVALUATED, backend))
    assert len(found) == 4


def test_attentions_and_fused_features(backend):
    found = native.adplg_video_branch(detector(VIDEO, backend), training_batch(VIDEO, backend))
    expected = {name: VIDEO.outputs[name] for name in ("attention_abnormal", "attention_cross", "video_scores",
                                                       "fused_abnormal", "fused_cross", "fused_normal")}
    assert_all_close({name: found[name] for name in expected}, expected, tolerance(VIDEO, backend))
    assert_close(adplg.min_max(found["attention_abnormal"]), VIDEO.outputs["attention_abnormal_minmax"],
                 tolerance(VIDEO, backend))


def published_labels() -> tuple[np.ndarray, np.ndarray]:
    """Labels and hard snippets as published: a label above 10 marks a hard one."""
    hard = LABELS.outputs["pseudo_labels"] > 10
    return np.where(hard, 0, LABELS.outputs["pseudo_labels"]), hard


def test_pseudo_labels():
    labels, hard = adplg.pseudo_labels(LABELS.outputs["attention_history"], adplg.Config(**LABELS.about["config"]))
    expected, published_hard = published_labels()
    assert (hard == published_hard).all() and 0 < hard.mean() < 1
    assert (labels[~hard] == expected[~hard]).all() and 0 < labels[~hard].mean() < 1


def snippet_case(dtype=np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels and which snippets count, normal videos first."""
    labels, hard = published_labels()
    nothing = np.zeros_like(labels)
    return LABELS.inputs()["batch"].astype(dtype), np.concatenate([nothing, labels]), np.concatenate([nothing + 1, ~hard])


def test_snippet_loss(backend):
    scores, loss = native.adplg_snippet_loss(detector(LABELS, backend), *snippet_case(DTYPE.get(backend, np.float32)))
    assert_close(scores, LABELS.outputs["snippet_scores"], tolerance(LABELS, backend))
    assert_close(loss, LABELS.outputs["loss:snippet"], tolerance(LABELS, backend))


def test_gradients_of_the_snippet_loss(framework):
    found = native.adplg_snippet_gradients(detector(LABELS, framework), *snippet_case())
    assert all(not value.any() for name, value in found.items() if name.startswith("video."))
    assert_gradient_norms(found, LABELS)


def test_losses_of_exactly_zero_do_not_count():
    scores, labels = np.array([[0, 0.5], [1, 0.25]]), np.array([[0.0, 0], [1, 1]])
    expected = (np.log(2) + np.log(4)) / 2
    assert_close(adplg.snippet_loss(scores, labels, np.ones((2, 2))), expected, SPECIFICATION)
    assert_close(adplg.snippet_loss(scores, labels, np.array([[1, 1], [1, 0]])), np.log(2), SPECIFICATION)
    assert adplg.snippet_loss(scores, labels, np.zeros((2, 2))) == 0


def test_both_branches_of_a_checkpoint_together(backend):
    together = VIDEO.weights() | EVALUATED.weights() | {f"vars_s.{i}": np.zeros(3) for i in range(4)}
    made = wv.from_published("adplg", together, backend, devices.of(backend), **EVALUATED.about["config"])
    scores = [made.score(video) for video in EVALUATED.inputs()["features"]]
    assert_close(np.stack(scores), EVALUATED.outputs["scores"], OUTPUT)
    assert made.losses(training_batch(VIDEO, "torch"), True)["total"] == pytest.approx(VIDEO.outputs["loss:total"], rel=1e-5)


def attentions(steps: int, count: int = 3, length: int = 8) -> np.ndarray:
    return np.random.default_rng(0).random((steps, count, length))


def test_the_first_labels_are_soft_the_others_follow_from_the_history():
    memory, seen = adplg.Memory(adplg.Config(history=3)), attentions(6)
    for step, attention in enumerate(seen):
        labels, hard = memory.update((4, 7, 5), attention)
        kept = np.stack([adplg.min_max(a) for a in seen[:step + 1]])[-3:]
        expected = adplg.pseudo_labels(kept, memory.config) if step >= 3 else (kept[-1], np.zeros_like(hard))
        assert (labels == expected[0]).all() and (hard == expected[1]).all() and memory.steps == step + 1
    assert set(memory.histories) == {4, 5, 7} and all(kept.shape == (3, 8) for kept in memory.histories.values())


def test_each_video_has_a_history_of_its_own():
    memory, seen = adplg.Memory(adplg.Config(history=2)), attentions(4, 2)
    soft = [(memory.update((1, video), attention)[0] % 1 != 0).any(1) for attention, video in zip(seen, (2, 3, 1, 2))]
    assert np.array_equal(soft, [[True, True], [True, True], [False, False], [False, True]])


def test_a_video_that_comes_twice_in_a_batch_is_drawn_twice():
    memory, seen = adplg.Memory(adplg.Config(history=1)), attentions(1, 2)[0]
    labels, _ = memory.update((9, 9), seen)
    assert (labels[0] == adplg.min_max(seen[0])).all() and set(labels[1]) == {0, 1}
    assert (memory.histories[9] == adplg.min_max(seen[1:])).all()


def test_unknown_videos_are_not_remembered():
    memory = adplg.Memory(adplg.Config(history=1))
    for attention in attentions(3):
        assert (memory.update(None, attention)[0] == adplg.min_max(attention)).all()
    assert memory.steps == 3 and not memory.histories


def test_another_length_is_refused():
    memory = adplg.Memory(adplg.Config())
    memory.update((3,), np.ones((1, 5)))
    with pytest.raises(wv.InputError, match="training video 3 has 6 snippets, 5 before"):
        memory.update((3,), np.ones((1, 6)))


@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_the_state_of_the_memory_comes_back_exactly(dtype, tmp_path):
    config, seen = adplg.Config(history=2), attentions(6).astype(dtype)
    memory, other = adplg.memory(config), adplg.memory(config)
    for attention in seen[:4]:
        memory.update((1, 20, 3), attention)
    memory.update((8, 8, 1), seen[4])
    other.update((5,), np.ones((1, 3)))
    np.savez(tmp_path / "state.npz", **memory.state())
    other.restore(np.load(tmp_path / "state.npz"))
    assert other.steps == memory.steps == 5 and other.histories.keys() == memory.histories.keys()
    assert all(kept.dtype == dtype for kept in other.histories.values())
    for _ in range(2):
        for found, expected in zip(other.update((1, 8, 99), seen[5]), memory.update((1, 8, 99), seen[5])):
            assert np.array_equal(found, expected)


def small_batch(videos=(0, 1, 2, 3)) -> wv.Batch:
    features = np.maximum(np.random.default_rng(0).standard_normal((4, 8, 6), np.float32), 0)
    return wv.Batch(features, [1, 0, 1, 0], videos=videos)


def test_every_loss_is_a_step_and_the_snippet_term_waits_for_the_warm_up(backend):
    made = wv.create("adplg", backend, **SMALL, warm_up=2, history=1)
    terms = [native.training_losses(made, small_batch()) for _ in range(4)]
    assert [t["snippet"] > 0 for t in terms] == [False, False, True, True] and made.network.memory.steps == 4
    assert set(made.network.memory.histories) == {0, 2}, "of the abnormal videos"
    for t in terms:
        assert t["total"] == pytest.approx(sum(value for name, value in t.items() if name != "total"), rel=1e-6)
    native.training_losses(made, small_batch(None))
    assert made.network.memory.steps == 5


def test_no_gradient_reaches_the_snippet_branch_before(framework):
    made = wv.create("adplg", framework, **SMALL, warm_up=1)
    for moved in (False, True):
        gradients = made.gradients(small_batch(), deterministic=True)
        native.training_losses(made, small_batch())  # the memory's next step
        assert {name.partition(".")[0] for name, value in gradients.items() if value.any()} == (
            {"video", "snippet"} if moved else {"video"})


def test_labels_carry_no_gradient(framework):
    """In the video branch, the gradients are the same whether or not the labels made of its attention are used."""
    found = [wv.create("adplg", framework, **SMALL, warm_up=n).gradients(small_batch(), True) for n in (0, 1)]
    video = [{name: value for name, value in gradients.items() if name.startswith("video.")} for gradients in found]
    assert_all_close(*video, OUTPUT, 1e-9)


@pytest.mark.parametrize("steps", (32, 64))
def test_gradients_of_whole_blocks(framework, steps):
    """Where nothing is padded: the float64 specification's central difference."""
    config = SMALL | {"warm_up": 0, "positions": 70}
    features = np.maximum(np.random.default_rng(0).standard_normal((4, steps, 6), np.float32), 0)
    batch = wv.Batch(features, [0, 0, 1, 1])
    made = wv.create("adplg", framework, **config)
    gradients, start = made.gradients(batch, True), made.weights()
    rng = np.random.default_rng(0)
    move = {name: rng.standard_normal(value.shape) * np.linalg.norm(value) for name, value in gradients.items()
            if name.startswith("snippet.")}

    def total(size: float) -> float:
        exact = wv.create("adplg", **config)
        exact.network.weights = {n: w + size * move[n] if n in move else w.astype(float) for n, w in start.items()}
        return exact.losses(dataclasses.replace(batch, features=features.astype(float)), True)["total"]

    slope = (total(1e-5) - total(-1e-5)) / 2e-5
    assert_close(sum(np.vdot(gradients[name], move[name]) for name in move), slope, 1e-3)


def test_a_video_that_is_too_long_is_refused(backend):
    made = wv.create("adplg", backend, **SMALL)
    assert made.score(np.ones((50, 6), np.float32)).shape == (50,)
    with pytest.raises(wv.InputError, match="a video of 51 snippets: this network has positions for 50 at most"):
        made.score(np.ones((51, 6), np.float32))


@pytest.mark.parametrize("setting", [{"channels": 1022}, {"local_head_dim": 63}, {"positions": 63}, {"dropout": 1},
                                     {"window_sizes": [2, 0]}])
def test_settings_that_cannot_be(setting):
    with pytest.raises(wv.InputError, match="expected"):
        wv.create("adplg", **setting)
