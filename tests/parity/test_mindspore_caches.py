"""What MindSpore keeps of many lengths is given back, and nothing else is lost by it."""
from pathlib import Path

import numpy as np
import pytest

from cases import CONFIGS, batch, detector, video
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer

METHOD, CONFIG = "bn-wvad", CONFIGS["bn-wvad"][0]
STATM = Path("/proc/self/statm")
NEVER = 10**9
pytestmark = [pytest.mark.needs("mindspore"), pytest.mark.on_the_cpu]


@pytest.fixture
def caches():
    from wvad_mindspore import caches

    before = caches.SHAPES
    caches._seen.clear()
    yield caches
    caches.SHAPES = before
    caches.release()


def resident() -> int:
    return int(STATM.read_text().split()[1])  # pages


@pytest.mark.skipif(not STATM.exists(), reason="this system does not tell how much memory a process has")
def test_memory_of_many_lengths_is_bounded(caches):
    """A third at most of what as many other lengths take that are never given back, once some were computed."""
    made = detector(METHOD, CONFIG, "mindspore")
    grown = []
    for shapes, lengths in ((4, range(51, 55)), (4, range(1, 17)), (NEVER, range(17, 33))):
        caches.SHAPES = shapes
        caches.release()
        before = resident()
        for steps in lengths:
            made.score(video(METHOD, CONFIG, steps))
        grown.append(resident() - before)
    assert grown[1] < grown[2] / 3


def test_nothing_else_changes(caches):
    """Scores, and training whose session is older, with releases at every new length and without."""
    found = []
    for shapes in (NEVER, 1):
        caches.SHAPES = shapes
        made = detector(METHOD, CONFIG, "mindspore")
        trainer = Trainer(made, Recipe(segments=20, videos=3, steps=3))
        for step, length in enumerate((7, 9)):
            terms = trainer.step(batch(METHOD, CONFIG, 20, seed=step))
            scores = made.score(video(METHOD, CONFIG, length + shapes % 2))
        found.append((terms, made.score(video(METHOD, CONFIG, 12)), scores))
    (terms, scores, _), (others, same, _) = found
    assert terms == pytest.approx(others, rel=1e-5) and np.allclose(scores, same, rtol=1e-5, atol=1e-6)


def test_a_callers_gradient_under_way_is_left_alone(caches):
    import mindspore as ms

    made, weight = detector(METHOD, CONFIG, "mindspore"), ms.Parameter(ms.Tensor([3.0], ms.float32))

    def squared(x: ms.Tensor) -> ms.Tensor:
        y = weight * x
        made.score(video(METHOD, CONFIG, 11))
        return (y * y).sum()

    caches.SHAPES = 1
    (gradient,) = ms.value_and_grad(squared, None, [weight])(ms.Tensor([2.0], ms.float32))[1]
    assert gradient.asnumpy().tolist() == [24.0]


def test_scores_in_the_callers_graph_mode_compile_no_graph(caches):
    import mindspore as ms

    made, features = detector(METHOD, CONFIG, "mindspore"), video(METHOD, CONFIG, 13)
    expected = made.score(features)
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        assert np.array_equal(made.score(features), expected)
        assert ms.get_context("mode") == ms.GRAPH_MODE and not made.network.compile_cache
    finally:
        ms.set_context(mode=ms.PYNATIVE_MODE)
