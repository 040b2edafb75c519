"""PEL4VAD: what its golden cases have besides scores and terms, and what they cannot tell apart."""
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from test_golden import CASES, DTYPE, detector, having, published, tolerance, training_batch

import devices
import native
import wvad_core as wv
from compare import OUTPUT, SPECIFICATION, assert_close
from wvad_core.blocks import context_attention as block
from wvad_core.blocks.tensors import Scope, draw, flatten
from wvad_core.conventions import protocol_of
from wvad_core.data import TrainingSet, demo, find_sampler, load_table
from wvad_core.data.training_set import indices_of_classes
from wvad_core.methods import pel4vad
from wvad_core.training.planning import plan

EVALUATED = [name for name in having("scores", "features") if CASES[name].about["method"] == "pel4vad"]
TRAINED = [name for name in having("loss:prompt") if CASES[name].about["method"] == "pel4vad"]
SMALL = {"feature_dim": 8, "attention_dim": 4, "channels": 5, "categories": ("Normal", "Fight", "Riot", "Theft")}


@pytest.mark.parametrize("kind", ("", "_short", "_one"))
@pytest.mark.parametrize("name", EVALUATED)
def test_scores_of_short_videos_smoothed_and_not(name, kind, backend):
    case = CASES[name]
    made, videos = detector(case, backend), case.inputs()[f"features{kind}"].astype(DTYPE.get(backend, np.float32))
    for raw, key in ((False, "scores"), (True, "scores_unsmoothed")):
        found = np.stack([made.score(video, raw=raw) for video in videos])
        assert_close(found, case.outputs[key + kind], tolerance(case, backend))


@pytest.mark.parametrize("name", TRAINED)
def test_what_the_terms_are_made_of(name):
    """Scores, video scores, and the rows of the prompt term, in the published order: the foreground, then the background."""
    case = CASES[name]
    config, batch = pel4vad.Config(**case.about["config"]), training_batch(CASES[name], "numpy")
    batch = pel4vad.up_to(batch, pel4vad.longest(batch))
    h, logits = pel4vad.outputs(batch.features, Scope(detector(case, "numpy").network.weights), config)
    scores = pel4vad.sigmoid(logits)
    assert_close(scores, case.outputs["scores"], SPECIFICATION)
    counts = config.largest(batch.labels, batch.lengths)
    best = [np.sort(row[:length])[-count:].mean() for row, length, count in zip(scores, batch.lengths, counts)]
    assert_close(best, case.outputs["video_scores"], SPECIFICATION)
    both = np.stack([pel4vad.pooled(h, scores), pel4vad.pooled(h, 1 - scores)], 1)
    rows = np.concatenate([own[:1 + label] for own, label in zip(both, batch.labels)])
    assert_close(rows, case.outputs["prompt_features"], SPECIFICATION)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", TRAINED)
def test_gradients_in_float64(name):
    """The derivative of the power norm makes float32's uncertain; that of a bias of k is 0 but for rounding."""
    import torch

    case = CASES[name]
    network = wv.from_published("pel4vad", case.weights(), "torch", devices.of("torch"), **case.about["config"]).network
    network.double()
    network.eval()
    total = network.losses(training_batch(case, "numpy"))["total"]
    names, tensors = zip(*network.named_parameters())
    found = dict(zip(names, torch.autograd.grad(total, tensors)))
    for theirs, ours in published(case).names.items():
        assert_close(found[ours].norm().cpu(), case.outputs[f"grad:{theirs}"], 1e-9, 1e-12, theirs)


@pytest.mark.parametrize("name", TRAINED)
def test_the_bias_of_k_has_no_gradient(name, framework):
    found = detector(CASES[name], framework).gradients(training_batch(CASES[name], framework), deterministic=True)
    assert np.linalg.norm(found["attention.k.bias"].astype(np.float64)) < 1e-6


def attention(width: int = 128, channels: int = 1024, w: float = 0.6, b: float = 0.2, seed: int = 1) -> dict[str, np.ndarray]:
    weights = draw(flatten(block.context_attention_parameters(channels, width, w, b)), seed)
    return weights | {"alpha": np.array(0.3, np.float32)}


def as_matrices(x: np.ndarray, p: dict, window: int) -> np.ndarray:
    """The formula with T x T matrices, in float64."""
    x, p = x.astype(np.float64), {name: value.astype(np.float64) for name, value in p.items()}
    q, k, v = (x @ p[f"{name}.weight"].T + p[f"{name}.bias"] for name in "qkv")
    apart = np.arange(x.shape[1]) - np.arange(x.shape[1])[:, None]
    logits = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    logits = logits + np.exp(-np.abs(p["position.w"] * apart**2 - p["position.b"]))
    near = (apart >= -(window // 2)) & (apart <= window - window // 2 - 1)
    maps = []
    for seen in (np.ones_like(near), near):
        powers = np.where(seen, np.exp(logits - logits.max(-1, keepdims=True)), 0)
        maps.append(powers / powers.sum(-1, keepdims=True))
    share = 1 / (1 + np.exp(-p["alpha"]))
    return (share * maps[0] + (1 - share) * maps[1]) @ v


def context(backend: str, weights: dict, x: np.ndarray, window: int) -> np.ndarray:
    if backend == "numpy":
        return block.context_attention(x, Scope(weights), window)
    channels, width = x.shape[-1], len(weights["q.bias"])
    layer = native.block(backend, "context_attention", "ContextAttention")(channels, width, window)
    native.set_weights(layer, {"out.weight": np.zeros((channels, width)), "out.bias": np.zeros(channels)} | weights)
    native.set_training(layer, False)
    found = native.to_numpy(layer(native.to_native(backend, x)))
    assert_close(native.without_gradients(backend, layer, x), found, OUTPUT)
    return found


@pytest.mark.parametrize("w, b, window", [(0.6, 0.2, 9), (1e-6, 0.9, 4)])
def test_attention_in_blocks_at_published_width(backend, w, b, window):
    """So long that queries come in several blocks; with w near 0 the term reaches across all of them."""
    x = np.random.default_rng(0).standard_normal((1, 2100, 1024)).astype(np.float32)
    weights = attention(w=w, b=b)
    assert_close(context(backend, weights, x, window), as_matrices(x, weights, window), OUTPUT)


@pytest.mark.parametrize("steps", (1, 2, 3, 7, 40))
@pytest.mark.parametrize("window", (1, 2, 5, 100))
def test_attention_of_any_length_and_window(backend, steps, window, monkeypatch):
    x, weights = np.random.default_rng(steps).standard_normal((3, steps, 8)).astype(np.float32), attention(4, 8, 0.06, 0.02)
    expected = as_matrices(x, weights, window)
    assert_close(context(backend, weights, x, window), expected, OUTPUT)
    if backend == "numpy":
        monkeypatch.setattr("wvad_core.blocks.attention.ATTENTION_BLOCK", 3 * steps)
    else:
        monkeypatch.setattr(f"wvad_{backend}.blocks.context_attention.CONTEXT_BLOCK", 3 * steps)
    assert_close(context(backend, weights, x, window), expected, OUTPUT)


def power_normed(framework: str, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The power norm, and the gradient by y of its product with a weight."""
    norm = native.block(framework, "context_attention", "power_norm")
    return native.value_and_gradient(framework, norm, y, weight)


def test_power_norm_by_hand(framework):
    """r = (0, 2, -3) has the norm sqrt(13); d(w.r / |r|) = (w - (w.r) r / 13) / sqrt(13), times 1 / (2 sqrt|y|), 0 at y = 0."""
    y = np.array([[[0, 0], [4, 0], [-9, 0]]], np.float32)
    weight = np.array([[[5, 1], [1, 2], [2, 3]]], np.float32)
    value, gradient = power_normed(framework, y, weight)
    r, w = np.array([0, 2, -3.0]), weight[0, :, 0]
    assert_close(value[0], np.stack([r / np.sqrt(13), np.zeros(3)], 1), 1e-6)
    by_r = (w - (w @ r) * r / 13) / np.sqrt(13)
    assert_close(gradient[0], np.stack([by_r * [0, 1 / 4, 1 / 6], np.zeros(3)], 1), 1e-6)
    assert_close(block.power_norm(y), value, 1e-6)


def test_power_norm_of_a_single_snippet_is_its_sign(framework):
    value, gradient = power_normed(framework, np.array([[[0.3, -2, 0]]], np.float32), np.ones((1, 1, 3), np.float32))
    assert np.array_equal(value, [[[1, -1, 0]]]) and np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("settings, expected", [
    ({"smoothing": "slide", "smoothing_window": 3}, [2, 3, 4, 3, 5 / 3]),
    ({"smoothing": "fixed", "smoothing_window": 3}, [2, 2, 2, 3, 3]),
    ({"smoothing": "slide", "smoothing_window": 10}, [1.5, 1.4, 1.2, 0.9, 0.5]),
    ({"smoothing": "fixed", "smoothing_window": 5}, [3] * 5), ({"smoothing": "fixed", "smoothing_window": 1}, [1, 2, 3, 4, 5])])
def test_smoothing_by_hand(settings, expected):
    found = pel4vad.postprocess(np.array([1, 2, 3, 4, 5], np.float32), pel4vad.Config(**settings))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("dataset, smoothing, window", [("ucf-crime", "slide", 7), ("xd-violence", "fixed", 8),
                                                        ("xd_violence", "fixed", 8), ("shanghaitech", "slide", 3)])
def test_the_published_protocol_smooths_by_the_dataset(dataset, smoothing, window):
    assert protocol_of("pel4vad", dataset, "published").settings == {"smoothing": smoothing, "smoothing_window": window}
    assert not protocol_of("pel4vad", "own", "published").settings


def small(backend: str, **settings) -> wv.Detector:
    return wv.create("pel4vad", backend, devices.of(backend), seed=2, **SMALL | settings)


def batch(lengths=(6, 4, 5), labels=(0, 1, 1), classes=((0,), (2,), (1, 3)), prompts=None, **given) -> wv.Batch:
    rng = np.random.default_rng(6)
    features = rng.random((len(labels), 6, 8), np.float32)
    for video, length in zip(features, lengths):
        video[length:] = 0
    texts = np.random.default_rng(7).random((4, 4)) if prompts is None else prompts
    return wv.Batch(features, np.array(labels), classes=classes, companions={"prompts": texts}, **given)


def test_length_is_the_number_of_rows_that_are_not_zero(backend):
    """A row of zeros among others counts nowhere, and the batch ends after as many as there are of the others."""
    given = batch(lengths=(4, 4, 4))
    given.features[:, 1] = 0
    made = small(backend)
    cut = dataclasses.replace(given, features=given.features[:, :3], lengths=np.array([3, 3, 3]))
    assert made.losses(given, True) == pytest.approx(made.losses(cut, True), rel=1e-6)
    longer = dataclasses.replace(given, features=given.features[:, :4], lengths=np.array([4, 4, 4]))
    assert abs(made.losses(longer, True)["prompt"] - made.losses(cut, True)["prompt"]) > 1e-5


def test_an_item_without_a_row_that_is_not_zero(backend):
    with pytest.raises(wv.InputError, match="batch video 1, crop 0: all its snippets are zero, expected one at least that"):
        small(backend).losses(batch(lengths=(6, 0, 5)))


def test_a_training_video_without_a_row_that_is_not_zero(demo_videos):
    video = demo_videos[3]
    features = video.features.read()
    features[4] = 0
    object.__setattr__(video, "features", type("Read", (), {"shape": features.shape, "read": lambda self: features})())
    with pytest.raises(wv.InputError, match=f"{video.video.name}: crop 4 has no snippet that is not all zero"):
        TrainingSet(demo_videos, 100, sampler=find_sampler("picked"))


@pytest.fixture
def demo_videos(tmp_path):
    return plan("pel4vad", "demo").open("train")


@pytest.mark.parametrize("texts, own", [("mean", [1, 3]), ("first", [1])])
def test_a_video_of_several_categories(backend, texts, own):
    """Its text is the mean of theirs, or the first one's; its category is the first."""
    prompts = np.random.default_rng(7).random((4, 4))
    moved = prompts.copy()
    moved[1] = prompts[own].mean(0)
    found = small(backend, texts=texts).losses(batch(prompts=prompts), True)
    expected = small(backend).losses(batch(classes=((0,), (2,), (1,)), prompts=moved), True)
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_prompt_loss_that_is_no_number_is_an_error(backend):
    with pytest.raises(wv.errors.Failure, match="the prompt loss is not a number"):
        small(backend).losses(batch(prompts=np.zeros((4, 4))))


@pytest.mark.parametrize("change, message", [
    ({"classes": None}, "a batch has no classes, expected each video's places among Normal, Fight, Riot, Theft"),
    ({"prompts": np.ones((4, 5))}, r"companion prompts has shape \(4, 5\), expected \(4, 4\)"),
    ({"prompts": np.ones((3, 4))}, r"companion prompts has shape \(3, 4\), expected \(4, 4\)")])
def test_what_is_refused(change, message, backend):
    with pytest.raises(wv.InputError, match=message):
        small(backend).losses(batch(**change))


def test_more_than_one_head_is_refused():
    with pytest.raises(wv.InputError, match="pel4vad has no setting 'heads'"):
        wv.create("pel4vad", heads=2)


def test_fresh_scalars():
    weights = wv.create("pel4vad", gamma=0.06, bias=-0.02, temperature=0.05, **SMALL).weights()
    assert [float(weights[name].squeeze()) for name in ("attention.alpha", "attention.position.w", "attention.position.b",
                                                        "logit_scale")] == pytest.approx([0, 0.06, -0.02, np.log(20)])


def test_categories_of_shanghaitech_are_the_authors_labels():
    """Of its 63 abnormal training videos, whose table calls them all anomalies; seven are of two categories."""
    table = [video for video in load_table("shanghaitech") if video.split == "train"]
    config = pel4vad.Config(**pel4vad.RECIPES["shanghaitech"]["settings"])
    dataset = type("Opened", (list,), {"name": "shanghaitech"})(SimpleNamespace(video=video) for video in table)
    found = dict(zip((video.name for video in table), indices_of_classes(dataset, config.categories)))
    assert all((own == (0,)) == (not video.abnormal) for video, own in zip(table, found.values())) and len(found) == 238
    assert found["01_0026"] == (4, 2) and found["05_0020"] == (12,) and found["01_0054"] == (3,)
    assert sum(len(own) == 2 for own in found.values()) == 7
    assert set().union(*found.values()) == set(range(14))


def test_the_demo_set_brings_its_texts():
    made = plan("pel4vad", "demo")
    assert made.companions == {} and made.open("train").companions["prompts"].shape == (5, 16)
    assert set(demo.demo_companions("pel4vad")) == {"prompts"} and made.open("test").companions == {}
