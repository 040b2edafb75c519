"""MindSpore's networks compute the same compiled, in graph mode."""
import pytest

import native
from cases import NETWORKS, batch, detector, items
from compare import OUTPUT, assert_all_close, assert_close

# Compiling takes seconds: of configurations that differ in their numbers only, one, the first, which is the shallowest; of
# SSRL's grids one that is padded and one that is not, for --slow.
SHALLOW = [(method, config) for method, config in NETWORKS if method != "ssrl" or config.get("stage") == 1]
SHALLOW += [("ssrl", {"feature_dim": 16, "hidden_dims": (8, 6), "stage": 3, "patch_sizes": (23, 47), "dropout": 0.3})]
FORMS = {(method, config.get("variant"), config.get("stage")): (method, config) for method, config in reversed(SHALLOW)}
METHODS = {method: (method, config) for method, config in FORMS.values()}
IN_GRAPH_MODE = ("ar-net", "ur-dmu")
"""Of the methods, whose scores are compiled without --slow: a recurrence and attention. test_export.py compiles those of all,
for any length."""

IN_TRAINING = ("adplg", "bn-wvad", "ur-dmu", "vadclip")
"""Of the methods, whose losses are: one with a memory, those of batch statistics and of random numbers, and the largest graph.
The others' terms are made of the same blocks."""

pytestmark = pytest.mark.needs("mindspore")


def compiled_terms(ms, network, *given):
    @ms.jit
    def compiled(*given):
        return network.terms(*given)

    return compiled(*given)


def compiled_around_the_memory(ms, network, features, videos):
    @ms.jit
    def video_terms(features):
        return network.video_terms(features)

    @ms.jit
    def snippet_loss(features, labels, counted):
        return network.snippet_loss(features, labels, counted)

    terms, attention = video_terms(features)
    labels, counted = network.targets(videos, attention)
    terms["snippet"] = snippet_loss(features, labels, counted) if network.memory.warm else ms.Tensor(0.0)
    return {"total": sum(terms.values())} | terms


# Known differences: what is compiled where it is not `terms` as a whole, each with its reason.
COMPILED = {"adplg": compiled_around_the_memory}  # the memory of past attentions is Python's, and no graph can hold it


@pytest.fixture
def ms():
    import mindspore

    yield mindspore
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)


@pytest.mark.parametrize("method, config", [
    pytest.param(*form, marks=[] if form[0] in IN_GRAPH_MODE and form[1].get("variant", "lstm") == "lstm" else pytest.mark.slow)
    for form in FORMS.values()])
def test_scores_compiled(ms, method, config):
    made = detector(method, config, "mindspore")

    @ms.jit
    def compiled(features):
        return made.network(features)

    for steps, crops in ((70, 3), (9, 1)):
        features = ms.Tensor(items(method, config, steps, crops))
        assert_close(compiled(features).asnumpy(), made.network(features).asnumpy(), OUTPUT)


@pytest.mark.parametrize("method, config", [
    pytest.param(*form, marks=[] if form[0] in IN_GRAPH_MODE else pytest.mark.slow) for form in METHODS.values()])
def test_scores_in_graph_mode(ms, method, config):
    features = ms.Tensor(items(method, config, 40, 2))
    expected = detector(method, config, "mindspore").network(features).asnumpy()
    ms.set_context(mode=ms.GRAPH_MODE)
    assert_close(detector(method, config, "mindspore").network(features).asnumpy(), expected, OUTPUT)


@pytest.mark.parametrize("method, config", [
    pytest.param(*form, marks=[] if form[0] in IN_TRAINING else pytest.mark.slow) for form in FORMS.values()])
def test_loss_terms_and_statistics_compiled(ms, method, config):
    from wvad_mindspore.blocks.random import Random

    given = batch(method, config, 20)
    plain = detector(method, config, "mindspore")
    expected = native.training_losses(plain, given)
    made = detector(method, config, "mindspore")
    made.network.set_train()
    for _, cell in made.network.cells_and_names():
        if isinstance(cell, Random):
            cell.set_train(False)

    first = given.normal_first()
    extras = [made.network.extra(first, name) for name in made.network.extras]
    found = COMPILED.get(method, compiled_terms)(ms, made.network, ms.Tensor(first.features), *extras)
    assert_all_close({name: value.asnumpy() for name, value in found.items()}, expected, OUTPUT)
    assert_all_close(made.weights(), plain.weights(), OUTPUT)
