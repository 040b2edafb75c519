"""VadCLIP: what its golden cases hold beyond scores and losses, and readings that they cannot tell apart."""
import copy
import dataclasses

import devices
import numpy as np
import pytest
from scipy.special import expit
from test_golden import CASES, DTYPE, detector, tolerance

import golden
import native
import wvad_core as wv
from compare import OUTPUT, SPECIFICATION, assert_close, error
from wvad_core.blocks.tensors import Scope
from wvad_core.conventions import protocol_of
from wvad_core.methods import vadclip

SCORED = [name for name, case in CASES.items() if "class_probabilities" in case.outputs]
SMALL = {"feature_dim": 16, "max_length": 32, "depth": 1, "classes": ("normal", "abuse", "car accident"), "text_width": 8,
         "text_heads": 1, "text_depth": 1, "vocabulary": 8, "token_ids": ("0", "1", "2 3"), "test_crop": 0}


def dtype(backend: str) -> type:
    return DTYPE.get(backend, np.float32)


def small(backend: str, seed: int = 0, **settings) -> wv.Detector:
    return wv.create("vadclip", backend, devices.of(backend), seed=seed, **SMALL | settings)


def features(steps: int, crops: int = 1, dim: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, steps]).standard_normal((crops, steps, dim)).astype(np.float32)


def exact(made: wv.Detector, **settings) -> wv.Detector:
    """The specification with a detector's weights, to be fed with float64; with other settings where given."""
    return wv.from_published("vadclip", made.weights(), **made.config.as_dict() | settings)


@pytest.mark.parametrize("name", SCORED)
def test_class_probabilities_and_both_branches(name, backend):
    case = CASES[name]
    given, made = case.inputs()["features"].astype(dtype(backend)), detector(case, backend)
    probabilities = np.stack([made.classify(video) for video in given])
    assert_close(probabilities, case.outputs["class_probabilities"], tolerance(case, backend))
    other = "alignment" if made.config.score_branch == "classifier" else "classifier"
    turned = wv.from_published("vadclip", case.weights(), backend, devices.of(backend),
                               **case.about["config"] | {"score_branch": other})
    for name in made.config.score_branch, other:  # the score of the first is test_golden's
        scores, again = turned.score_and_classify(given[0]) if name == other else made.score_and_classify(given[0])
        assert_close(scores, case.outputs[f"{name}_scores"][0], tolerance(case, backend))
        assert np.array_equal(again, probabilities[0])


@pytest.mark.parametrize("name", SCORED)
def test_classifier_logits(name):
    """Sigmoids hide what is wrong with large logits."""
    case = CASES[name]
    made = detector(case, "numpy")
    found = vadclip.evaluated(case.inputs()["features"].astype(np.float64), Scope(made.network.weights), made.config, False)[0]
    assert_close(found, case.outputs["classifier_logits"], SPECIFICATION)


def test_what_is_between_the_layers():
    case = CASES["vadclip_eval_short"]
    made = detector(case, "numpy")
    config, p = made.config, Scope(made.network.weights)
    given = case.inputs()["features"].astype(np.float64)
    chunks, lengths = vadclip.in_chunks(given, np.full(len(given), given.shape[1]), config.max_length)
    local = vadclip.local_transformer(chunks + p["frame_position_embeddings.weight"], p.at("temporal"), config)
    found = {"temporal_features": vadclip.end_to_end(local, given),
             "visual_features": vadclip.end_to_end(vadclip.visual(chunks, lengths, p, config), given)}
    for name, value in found.items():
        assert_close(value, case.outputs[name], SPECIFICATION, name=name)


@pytest.mark.parametrize("name", ["vadclip_eval_short", pytest.param("vadclip_text", marks=pytest.mark.slow)])
def test_text_features(name, backend):
    """The second in the published sizes, 63 million tensors, on frameworks for --slow."""
    assert_text_features(golden.load(name), backend)


def test_text_features_in_the_published_sizes():
    assert_text_features(golden.load("vadclip_text"), "numpy")


def assert_text_features(case: golden.Case, backend: str) -> None:
    made = detector(case, backend)
    network = made.network
    found = vadclip.text_features(Scope(network.weights), made.config, np.float64) if backend == "numpy" else native.to_numpy(
        network.texts())
    assert_close(found, case.outputs["text_features"], tolerance(case, backend))


def test_published_ids_are_the_tokenizers():
    case = golden.load("vadclip_text")
    layout, ends = vadclip.prompt_layout(vadclip.Config(prompt_prefix=0, prompt_postfix=0))
    for row, end, ids in zip(layout, ends, case.outputs["tokens"]):
        assert ids[:end + 1].tolist() == row[:end + 1].tolist() and not ids[end + 1:].any()


@pytest.mark.parametrize("steps", [1, 31, 32, 33, 64, 97])
def test_chunks_know_nothing_of_each_other(backend, steps):
    """Each is scored as a video of its own length, whatever its neighbours; none is added where T is a multiple of L."""
    made, video = small(backend), features(steps)[0].astype(dtype(backend))
    apart = np.concatenate([made.score(video[i:i + 32]) for i in range(0, steps, 32)])
    assert_close(made.score(video), apart, 1e-6)
    probabilities = np.concatenate([made.classify(video[i:i + 32]) for i in range(0, steps, 32)])
    assert_close(made.classify(video), probabilities, 1e-6)


def test_padding_takes_part_and_the_length_counts(backend):
    """Zeros behind a video change its scores where they count as snippets: similarities know where a chunk's end is. A network of
    shorter chunks is another one."""
    made, video = small(backend), features(20)[0].astype(dtype(backend))
    longer = np.concatenate([video, np.zeros((12, 16), video.dtype)])
    assert error(made.score(longer)[:20], made.score(video)) > 1e-5
    weights = {name: value[:20] if name.startswith("frame_pos") else value for name, value in made.weights().items()}
    cut = wv.from_published("vadclip", weights, backend, devices.of(backend), **SMALL | {"max_length": 20, "attention_window": 4})
    assert error(cut.score(video), made.score(video)) > 1e-3


@pytest.mark.parametrize("heads, text_heads", [(1, 1), (4, 2)])
def test_attention_head_by_head(heads, text_heads):
    """More than one head, which no golden case has in the local transformer: against attention written out for each window,
    head and query."""
    config = vadclip.Config(**SMALL | {"heads": heads, "text_heads": text_heads, "depth": 2})
    weights = wv.create("vadclip", **config.as_dict()).weights()
    p, x = Scope(weights).at("temporal"), features(32)[0].astype(np.float64)
    expected = x.copy()
    for k in range(2):
        block = p.at("resblocks").at(k)
        normed = layer_norm(expected, block.at("ln_1"))
        q, key, v = np.split(normed @ block["attn.in_proj_weight"].T + block["attn.in_proj_bias"], 3, axis=1)
        size, out = 16 // heads, np.zeros_like(expected)
        for query in range(32):
            window = range(query // 8 * 8, query // 8 * 8 + 8)
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                powers = np.array([np.exp(q[query, own] @ key[j, own] / np.sqrt(size)) for j in window])
                out[query, own] = sum(power * v[j, own] for power, j in zip(powers / powers.sum(), window))
        expected = expected + out @ block["attn.out_proj.weight"].T + block["attn.out_proj.bias"]
        hidden = layer_norm(expected, block.at("ln_2")) @ block["mlp.c_fc.weight"].T + block["mlp.c_fc.bias"]
        hidden = hidden * expit(1.702 * hidden)
        expected = expected + hidden @ block["mlp.c_proj.weight"].T + block["mlp.c_proj.bias"]
    assert_close(vadclip.local_transformer(x[None], p, config)[0], expected, 1e-12)


def layer_norm(x: np.ndarray, p: Scope) -> np.ndarray:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * p["weight"] + p["bias"]


def test_graph_of_similarities_by_hand():
    """Cosines of 0.7 and less are 0 and keep their share of the softmax; behind the end there is nothing."""
    x = np.array([[1, 0], [0.8, 0.6], [0, 2], [3, 3]], np.float64)[None]
    found = vadclip.similarities(x, np.array([3]))[0]
    e = np.exp(0.8)
    expected = np.array([[np.e, e, 1, 0], [e, np.e, 1, 0], [1, 1, np.e, 0], [0, 0, 0, 0]])
    assert_close(found, expected / np.maximum(expected.sum(1, keepdims=True), 1), 1e-12)
    assert not vadclip.similarities(x, np.array([0])).any()
    boundary = np.array([[1, 0], [0.7, np.sqrt(0.51)]])[None]
    below = vadclip.similarities(boundary, np.array([2]))[0, 0, 1]
    assert below == pytest.approx(1 / (1 + np.e)) or (boundary[0, 0] @ boundary[0, 1]) > 0.7


def test_distances_are_not_normalised():
    found = vadclip.distances(5)
    assert found[1, 3] == pytest.approx(np.exp(-2 / np.e)) and found[2, 2] == 1 and found.sum(1).max() > 2


def test_the_separation_has_an_absolute_value(backend):
    """Of a class opposite to the normal one, which a clamp at 0 would leave out, as of one that is beside it."""
    made = small(backend, separation_weight=1.0)
    texts = np.array([[1.0, 0], [-0.6, 0.8], [0.28, 0.96]])
    one = {"classes": (0, 1, 2)}
    found = separation(made, one, np.pad(texts, ((0, 0), (0, 14))))
    assert found == pytest.approx((0.6 + 0.28) / 2, rel=1e-5)


def separation(made: wv.Detector, batch: dict, texts: np.ndarray) -> float:
    """The term with the features of the texts given."""
    given = wv.Batch(features(3, 1)[:, :, :].astype(dtype(made.backend_name)), [1], classes=[(1,)])
    if made.backend_name == "numpy":
        module = made.network.specification.module
        kept = module.text_features
        try:
            module.text_features = lambda *given: texts
            return made.losses(given)["separation"]
        finally:
            module.text_features = kept
    object.__setattr__(made.network, "texts", lambda: native.to_native(made.backend_name, texts.astype(np.float32)))
    return made.losses(given)["separation"]


def test_lengths_and_k_of_each_video_by_hand(backend):
    """k = n // 16 + 1 of the first n snippets, for the score and, each by its own snippets, for every class."""
    lengths, classes = [1, 15, 16, 31, 32, 20], [(0,), (1,), (2, 1), (2,), (0,), (1,)]
    labels, given = [0, 1, 1, 1, 0, 1], np.concatenate([features(32, seed=i) for i in range(6)])
    for video, n in zip(given, lengths):
        video[n:] = 0
    made = small(backend)
    reference, totals = exact(made), {"classifier": 0.0, "alignment": 0.0}
    for video, n, label, own in zip(given.astype(np.float64), lengths, labels, classes):
        logits, similar = outputs(reference, video[:n])
        k = n // 16 + 1
        p = np.mean(sorted(expit(logits), reverse=True)[:k])
        totals["classifier"] -= (np.log(p) if label else np.log(1 - p)) / 6
        of_classes = np.array([np.mean(sorted(similar[:, c], reverse=True)[:k]) for c in range(3)])
        log_p = of_classes - np.log(np.exp(of_classes).sum())
        totals["alignment"] -= np.mean([log_p[c] for c in own]) / 6
    for order in (np.arange(6), np.array([3, 0, 5, 1, 4, 2])):
        batch = wv.Batch(given.astype(dtype(backend)), labels, lengths, classes=classes).reordered(order)
        found = made.losses(batch)
        assert found["classifier"] == pytest.approx(totals["classifier"], rel=2e-5)
        assert found["alignment"] == pytest.approx(totals["alignment"], rel=2e-5)
        assert found["total"] == pytest.approx(sum(found[name] for name in ("classifier", "alignment", "separation")), rel=1e-6)


def outputs(made: wv.Detector, video: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classifier's logits (T,) and the class logits (T, C) of a video that is one chunk, (T, D) float64."""
    config, p = made.config, Scope(made.network.weights)
    chunks, lengths = vadclip.in_chunks(video[None], np.array([len(video)]), config.max_length)
    v = vadclip.visual(chunks, lengths, p, config)
    logits = vadclip.classifier_logits(v, p)
    return logits[0, :len(video)], vadclip.class_logits(v, logits, vadclip.text_features(p, config, np.float64), p)[0, :len(video)]


def test_each_crop_trains_as_a_video_of_its_own(backend):
    made, given = small(backend), np.concatenate([features(20, 3)[None], features(20, 3, seed=1)[None]]).astype(dtype(backend))
    together = made.losses(wv.Batch(given, [0, 1], [20, 9], classes=[(0,), (2,)]))
    apart = made.losses(wv.Batch(given.reshape(6, 20, 16), [0] * 3 + [1] * 3, [20] * 3 + [9] * 3, classes=[(0,)] * 3 + [(2,)] * 3))
    assert together == pytest.approx(apart, rel=1e-6)


def test_one_crop_is_scored(backend):
    video = features(9, 3).astype(dtype(backend))
    for crop in range(3):
        made = small(backend, test_crop=crop)
        assert np.array_equal(made.score(video), made.score(video[crop])) and np.array_equal(made.score(video[:1]), made.score(video[0]))
        assert np.array_equal(made.classify(video), made.classify(video[crop]))
    for call in (small(backend, test_crop=3).score, small(backend, test_crop=5).classify):
        with pytest.raises(wv.InputError, match="^3 crops, expected one, or more than test_crop = [35]: the crop that is scored$"):
            call(video)


def test_clip_is_frozen_and_rows_that_no_class_shows_have_no_gradient(framework):
    """Zero, not absent. Of prefix 10 and postfix 10 row 0, row 11, and those from the longest class's end, 23, on."""
    made = small(framework, prompt_prefix=10, prompt_postfix=10)
    batch = wv.Batch(features(20, 4), [0, 1, 1, 0], classes=[(0,), (1,), (2,), (0,)])
    found = made.gradients(batch)
    assert set(found) == set(made.weights())
    for name, value in found.items():
        assert name.startswith("clipmodel.") != value.any(), name
    rows = np.flatnonzero(found["text_prompt_embeddings.weight"].any(axis=1)).tolist()
    assert rows == [row for row in range(1, 23) if row != 11]


def test_training_moves_no_tensor_of_clip(framework):
    """And AdamW lets the rows decay that have no gradient."""
    from wvad_core.training.options import Options
    from wvad_core.training.recipe import Recipe
    from wvad_core.training.trainer import Trainer

    made = small(framework)
    recipe = Recipe(32, 2, 10, optimiser="adamw", learning_rate=0.01, weight_decay=0.5)
    start, trainer = made.weights(), Trainer(made, recipe, Options())
    for step in range(3):
        trainer.step(wv.Batch(features(20, 4, seed=step), [0, 1, 1, 0], classes=[(0,), (1,), (2,), (0,)]))
    now = made.weights()
    for name, value in start.items():
        assert np.array_equal(value, now[name]) == name.startswith("clipmodel."), name
    assert_close(now["text_prompt_embeddings.weight"][70:], start["text_prompt_embeddings.weight"][70:] * 0.995**3, 1e-5)
    assert not any("clipmodel" in name for name in trainer.state())


def test_batches_without_classes_are_refused(backend):
    with pytest.raises(wv.InputError, match="^a batch has no classes, expected those of each video"):
        small(backend).losses(wv.Batch(features(4, 2).astype(dtype(backend)), [0, 1]))


@pytest.mark.parametrize("settings, message", [
    ({"attention_window": 5}, "attention_window: expected a divisor of max_length = 32, found 5"),
    ({"heads": 3}, "heads: expected a divisor of feature_dim"), ({"feature_dim": 15}, "an even number"),
    ({"text_heads": 3}, "a divisor of text_width"), ({"classes": ("normal",)}, "at least two different texts"),
    ({"token_ids": ("0", "1")}, "those of each of 3 classes"), ({"token_ids": ("0", "1", "6")}, "from 0 to 5"),
    ({"token_ids": ("0", "1", "")}, "whole numbers"), ({"prompt_prefix": 60, "prompt_postfix": 15}, "ends before place 77"),
    ({"categories": ("Normal",)}, "none or one for each of 3 classes")])
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(wv.InputError, match=message):
        wv.create("vadclip", **SMALL | settings)


def test_what_tables_call_the_classes():
    assert vadclip.classes(vadclip.Config())[:2] == ("Normal", "Abuse") and "RoadAccidents" in vadclip.classes(vadclip.Config())
    xd = vadclip.Config(**vadclip.XD_SETTINGS)
    assert vadclip.classes(xd) == ("Normal", "B1", "B2", "B4", "B5", "B6", "G")
    assert vadclip.classes(vadclip.Config(**SMALL, categories=("a", "b", "c"))) == ("a", "b", "c")


# --- the texts' features, computed once -------------------------------------------------------------------------------


def counting(made: wv.Detector, monkeypatch) -> list:
    """How often the network's encoder computes from now on."""
    encoder, calls = made.network.clipmodel, []
    name = {"torch": "forward", "mindspore": "construct"}[made.backend_name]
    kept = getattr(type(encoder), name)

    def counted(self, rows):
        calls.append(1)
        return kept(self, rows)

    monkeypatch.setattr(type(encoder), name, counted)
    return calls


def test_texts_are_encoded_once(framework, monkeypatch):
    made = small(framework, score_branch="alignment")
    calls = counting(made, monkeypatch)
    first = made.score(features(5))
    for _ in range(3):
        assert np.array_equal(made.score(features(5)), first)
        made.classify(features(7))
    assert len(calls) == 1
    other = copy.deepcopy(made)
    assert np.array_equal(other.score(features(5)), first) and len(calls) == 2


def change(made: wv.Detector, name: str, how: str) -> None:
    """Move a tensor so that as little as possible shows it: in place, or in the memory behind it."""
    tensor = native.tensors(made)[name]
    if made.backend_name == "torch":
        import torch

        if how == "data":
            tensor.data.mul_(1.5)
        elif how == "memory":
            tensor.detach().numpy()[...] *= 1.5
        else:
            with torch.no_grad():
                tensor.mul_(1.5)
    else:
        tensor.set_data(native.to_native("mindspore", native.to_numpy(tensor) * np.float32(1.5)))


@pytest.mark.parametrize("how", ["in place", "data", "memory"])
@pytest.mark.parametrize("name", ["text_prompt_embeddings.weight", "clipmodel.token_embedding.weight",
                                  "clipmodel.text_projection", "clipmodel.transformer.resblocks.0.mlp.c_fc.weight"])
def test_a_changed_weight_is_noticed(framework, name, how):
    if how == "memory" and devices.kind() != "cpu":
        pytest.skip("a device's memory is not NumPy's")
    made = small(framework, score_branch="alignment")
    made.score(features(5))
    change(made, name, how)
    fresh = wv.from_published("vadclip", made.weights(), framework, devices.of(framework), **made.config.as_dict())
    assert np.array_equal(made.score(features(5)), fresh.score(features(5)))


def test_training_steps_and_other_weights_are_noticed(framework):
    """Fused optimisers too, which move no version of a tensor."""
    from wvad_core.training.options import Options
    from wvad_core.training.recipe import Recipe
    from wvad_core.training.trainer import Trainer

    made = small(framework, score_branch="alignment")
    trainer = Trainer(made, Recipe(32, 2, 10, optimiser="adamw", learning_rate=0.01), Options())
    seen = [made.score(features(5))]
    for step in range(2):
        trainer.step(wv.Batch(features(20, 2, seed=step), [0, 1], classes=[(0,), (2,)]))
        fresh = wv.from_published("vadclip", made.weights(), framework, devices.of(framework), **made.config.as_dict())
        seen.append(made.score(features(5)))
        assert np.array_equal(seen[-1], fresh.score(features(5))) and error(seen[-1], seen[-2]) > 1e-5


# --- saved for deployment ---------------------------------------------------------------------------------------------


def test_without_the_encoder_everything_is_the_same(backend, tmp_path):
    made = small(backend, score_branch="alignment")
    held = made.deployed()
    assert held.config == dataclasses.replace(made.config, text="features")
    assert set(held.weights()) == {name for name in made.weights() if not name.startswith(("clipmodel", "text_"))} | {"text_features"}
    for suffix in (".safetensors", ".pt", ".ckpt"):
        held.save(tmp_path / f"x{suffix}")
        loaded = wv.load(tmp_path / f"x{suffix}", backend, devices.of(backend))
        assert loaded.config == held.config
        assert_close(loaded.score(features(40)), made.score(features(40)), OUTPUT)
        assert_close(loaded.classify(features(40)), made.classify(features(40)), OUTPUT)
    assert held.deployed() == held
    with pytest.raises(wv.InputError, match="text=features, as saved for deployment, cannot be trained") as refused:
        held.losses(wv.Batch(features(4, 2).astype(dtype(backend)), [0, 1], classes=[(0,), (1,)]))
    assert "\n" not in str(refused.value)


def test_a_tenth_of_the_published_tensors():
    """12.6 million instead of 76 with the text encoder; with CLIP's image tower it is 162."""
    def count(**settings):
        shapes = (parameter.shape for parameter in vadclip.parameters(vadclip.Config(**settings)).values())
        return sum(int(np.prod(shape)) for shape in shapes)

    assert count(text="features") / 1e6 == pytest.approx(12.6, abs=0.1)
    assert (count() - count(text="features")) / 1e6 == pytest.approx(63.4, abs=0.1)
    assert count(text="features", **vadclip.XD_SETTINGS) / 1e6 == pytest.approx(9.5, abs=0.1)


# --- the files that it is published in --------------------------------------------------------------------------------


def test_a_bare_file_is_recognised(tmp_path):
    """All sizes are seen from the tensors; what is not, is assumed and told. The image tower is dropped, whatever its sizes."""
    from wvad_core.checkpoints import formats
    from wvad_core.checkpoints.contents import Contents

    case = CASES["vadclip_xd_train"]
    config = case.about["config"]
    state = case.weights() | {"clipmodel.visual.proj": np.zeros((3, 5), np.float32),
                              "clipmodel.visual.layer1.0.conv1.weight": np.zeros((4, 3, 1, 1), np.float32)}  # of a ResNet
    formats.by_suffix(tmp_path / "model_xd.pth").write(tmp_path / "model_xd.pth", Contents(state, {}))
    settings = {name: config[name] for name in ("attention_window", "classes", "prompt_prefix", "prompt_postfix", "text_heads")}
    loaded = wv.load(tmp_path / "model_xd.pth", score_branch="alignment", test_crop=0, **settings)
    for name in ("feature_dim", "max_length", "depth", "text_width", "text_depth", "vocabulary"):
        assert getattr(loaded.config, name) == config[name], name
    assert "heads" in loaded.assumed.settings and loaded.method == "vadclip"
    expected = detector(case, "numpy").weights()
    assert all(np.array_equal(value, expected[name]) for name, value in loaded.weights().items())


@pytest.mark.parametrize("dataset, branch, crop", [("ucf-crime", "classifier", 5), ("xd-violence", "alignment", 0)])
def test_the_published_protocols(dataset, branch, crop):
    """Of both data sets, AP is the sum over steps."""
    found = protocol_of("vadclip", dataset, "published")
    assert found.settings == {"score_branch": branch, "test_crop": crop} and found.metrics == {"ap": "average_precision"}


@pytest.mark.parametrize("width, heads", [(512, 8), (640, 10), (768, 12), (1024, 16), (64, None)])
def test_heads_of_clips_text_encoders_have_64_channels(width, heads):
    assert vadclip.infer({"clipmodel.positional_embedding": (77, width)}).get("text_heads") == heads


def test_clip_itself_begins_a_training(tmp_path):
    """The text encoder of OpenAI's file, and fresh weights else."""
    from wvad_core.training.initial import initial_weights
    from wvad_core.checkpoints import formats
    from wvad_core.checkpoints.contents import Contents

    case = golden.load("vadclip_eval_short")
    clip = {name.removeprefix("clipmodel."): value for name, value in case.weights().items() if name.startswith("clipmodel.")}
    formats.by_suffix(tmp_path / "ViT.pt").write(tmp_path / "ViT.pt", Contents(clip, {}))
    config = vadclip.Config(**case.about["config"])
    weights, initial = initial_weights(tmp_path / "ViT.pt", "vadclip", config, 3)
    fresh = wv.create("vadclip", seed=3, **config.as_dict()).weights()
    for name, value in weights.items():
        expected = clip[name.removeprefix("clipmodel.")] if name.startswith("clipmodel.") else fresh[name]
        assert np.array_equal(value, expected), name
    assert set(initial.taken) == {name for name in weights if name.startswith("clipmodel.")}


def test_the_image_tower_of_a_file_is_an_extractor(tmp_path):
    from wvad_core.checkpoints import formats
    from wvad_core.checkpoints.contents import Contents

    tower = golden.load("clip_vit_small")
    state = CASES["vadclip_eval_short"].weights()
    state = {name: value for name, value in state.items() if not name.startswith("clipmodel.visual.")}
    state |= {f"clipmodel.{name}": value for name, value in tower.weights().items()}
    formats.by_suffix(tmp_path / "model.pth").write(tmp_path / "model.pth", Contents(state, {}))
    loaded = wv.load(tmp_path / "model.pth", method="clip-vit")
    assert loaded.name == "clip-vit"
    assert all(np.array_equal(loaded.weights()[name.removeprefix("visual.")], value) for name, value in tower.weights().items())
