"""Samplers: what each makes of a video, by hand; how they are found."""
import functools
import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from test_batches import dataset

from wvad_core.data import Sampler, TrainingSet, find_sampler, sampling
from wvad_core.data.segments import pick_snippets, pool_or_pad, pool_segments, resize_segments, unit_borders, unit_segments
from wvad_core.errors import InputError
from wvad_core.training.loop import read_training_set
from wvad_core.training.recipe import Recipe


def column(*values) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def test_resized_by_hand():
    """p = (j + 0.5) T / S - 0.5: for T = 8, S = 4 at 0.5, 2.5, 4.5, 6.5; for T = 2, S = 4 at -0.25, 0.25, 0.75, 1.25, cut."""
    assert resize_segments(column(0, 1, 2, 3, 4, 5, 6, 7), 4)[:, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert resize_segments(column(10, 20), 4)[:, 0].tolist() == [10, 12.5, 17.5, 20]
    assert resize_segments(column(3), 3)[:, 0].tolist() == [3, 3, 3]
    assert resize_segments(column(0, 1, 4, 9, 16, 25), 4)[:, 0].tolist() == [0.25, 3.25, 10.75, 22.75]


@pytest.mark.parametrize("snippets", [1, 2, 31, 32, 33, 100, 777])
def test_resized_is_the_frameworks_interpolation(snippets):
    torch = pytest.importorskip("torch")
    features = np.random.default_rng(snippets).random((3, snippets, 5), np.float32)
    found = resize_segments(features, 32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(features).transpose(1, 2), 32, mode="linear", align_corners=False)
    assert found.dtype == np.float32 and found.shape == (3, 32, 5)
    np.testing.assert_allclose(found, expected.transpose(1, 2).numpy(), rtol=0, atol=1e-6)


def test_picked_by_hand():
    """Of 10, 4 at 0, 3, 6, 9; of 12, 5 at 0, 2.75, 5.5, 8.25, 11, rounded down."""
    assert pick_snippets(column(*range(10)), 4)[:, 0].tolist() == [0, 3, 6, 9]
    assert pick_snippets(column(*range(12)), 5)[:, 0].tolist() == [0, 2, 5, 8, 11]
    assert pick_snippets(column(1, 2, 3), 5)[:, 0].tolist() == [1, 2, 3, 0, 0]
    assert pick_snippets(column(1, 2, 3), 3)[:, 0].tolist() == [1, 2, 3]


def test_segments_or_padded():
    assert pool_or_pad(column(1, 2, 3), 4)[:, 0].tolist() == [1, 2, 3, 0]
    assert pool_or_pad(column(1, 2, 3, 4), 4)[:, 0].tolist() == [1, 2, 3, 4]
    assert pool_or_pad(column(1, 3, 5, 7, 9), 2)[:, 0].tolist() == [2, 7]


def test_borders_are_rounded_away_from_zero():
    """Clips counted from 1: of 17 in 32, 1 + i / 2, so 1, 2 (1.5), 2, 3 (2.5), 3 ...; half to even would have 2 for 2.5."""
    assert (unit_borders(17, 32) + 1).tolist()[:6] == [1, 2, 2, 3, 3, 4] and unit_borders(17, 32)[-1] == 16
    assert (unit_borders(5, 4) + 1).tolist() == [1, 2, 3, 4, 5]
    assert (unit_borders(7, 4) + 1).tolist() == [1, 3, 4, 6, 7]  # 1, 2.5, 4, 5.5, 7
    assert unit_borders(1, 3).tolist() == [0, 0, 0, 0]


def test_unit_segments_by_hand():
    """Of 4 clips in 2 segments: borders 1, 3 (2.5), 4; the last clip takes no part."""
    clips = np.array([[3, 0], [3, 8], [0, 5], [9, 9]], np.float32)
    np.testing.assert_allclose(unit_segments(clips, 2), [[0.6, 0.8], [0, 1]], rtol=1e-6)
    with pytest.raises(InputError, match="segment 1 is all zero, expected one that can be divided by its norm"):
        unit_segments(clips * [[1], [1], [0], [1]], 2)


@pytest.mark.parametrize("clips", [1, 2, 16, 17, 18, 33, 50, 400])
def test_unit_segments_one_by_one(clips):
    """As told: clips counted from 1, the fractions exact, halves away from zero, an empty segment is the clip at its border."""
    features = np.random.default_rng(clips).random((clips, 6)) + 0.1
    borders = [math.floor(1 + Fraction(i * (clips - 1), 32) + Fraction(1, 2)) for i in range(33)]
    for found, begin, end in zip(unit_segments(features, 32), borders, borders[1:]):
        mean = sum(features[clip - 1] for clip in range(begin, max(end, begin + 1))) / max(end - begin, 1)
        np.testing.assert_allclose(found, mean / math.sqrt(sum(mean**2)), rtol=1e-12)
    taken = {clip for begin, end in zip(borders, borders[1:]) for clip in range(begin, max(end, begin + 1))}
    assert (clips in taken) == (clips <= 17)


@pytest.mark.parametrize("make", [pool_segments, pool_or_pad, resize_segments, pick_snippets, unit_segments])
@pytest.mark.parametrize("snippets, size", [(0, 3), (3, 0)])
def test_nothing_to_sample(make, snippets, size):
    with pytest.raises(InputError, match=f"{snippets} snippets cannot be averaged into {size} segments"):
        make(np.ones((snippets, 2), np.float32), size)


def test_lengths_of_what_is_padded():
    """The toy videos have 5 to 11 snippets."""
    for name in ("picked", "segments-or-padded"):
        training = TrainingSet(dataset(), 8, sampler=find_sampler(name))
        batch = training.batch(0, 3, 0, crops="all")
        assert batch.lengths.tolist() == [min(5 + video, 8) for video in batch.videos]
        assert batch.features.shape == (6, 10, 8, 3)
    assert TrainingSet(dataset(), 8, sampler=find_sampler("resized")).batch(0, 3, 0).lengths is None


def doubled(features, size):
    return 2 * pool_segments(features, size)


def test_a_method_brings_samplers_of_its_own():
    own = {"doubled": Sampler(once=doubled), "segments": Sampler(once=resize_segments)}
    assert find_sampler("doubled", own) is own["doubled"] and find_sampler("segments", own) is own["segments"]
    assert find_sampler("segments") is sampling.BUILT_IN["segments"] and find_sampler("segments").once is pool_segments


class Entry(SimpleNamespace):
    def load(self):
        if self.fails:
            raise ImportError("no module named elsewhere")
        return self.value


@pytest.fixture
def elsewhere(monkeypatch):
    entries = [Entry(name="doubled", value=doubled, fails=False), Entry(name="lost", value=None, fails=True)]
    monkeypatch.setattr(sampling, "entry_points", lambda group: entries if group == "wvad.samplers" else [])


def test_another_package_brings_samplers(elsewhere):
    videos = dataset()
    training = TrainingSet(videos, 4, sampler=find_sampler("doubled"))
    assert np.array_equal(training.features[2], 2 * pool_segments(videos[2].features.read(), 4))
    with pytest.raises(InputError, match=r"setting sampling: 'lost' cannot be loaded \(no module named elsewhere\)"):
        find_sampler("lost")


def test_an_unknown_sampling_is_refused(elsewhere):
    with pytest.raises(InputError) as caught:
        find_sampler("frames", {"own": Sampler(once=doubled)})
    assert str(caught.value) == ("setting sampling: expected one of doubled, lost, own, picked, resized, segments, "
                                 "segments-or-padded, snippets, unit-segments, found 'frames'")


def test_caches_are_told_apart():
    """Those of the first two samplers keep the names that they have had."""
    forms = {name: sampler.form(8) for name, sampler in sampling.BUILT_IN.items()}
    assert forms["segments"] == "8 segments" and forms["snippets"] == "whole videos"
    forms |= {"own": Sampler(once=doubled).form(8), "newer": Sampler(once=doubled, version=1).form(8)}
    assert len(set(forms.values())) == len(forms)


def test_what_has_no_name_of_its_own_is_not_cached(tmp_path):
    """Two of them could take each other's features."""
    halves = [Sampler(once=lambda features, size: pool_segments(features, size) / 2),
              Sampler(once=functools.partial(doubled))]
    for sampler in halves:
        assert sampler.form(8) is None
        training = TrainingSet(dataset(), 4, cache=tmp_path, sampler=sampler)
        assert np.array_equal(training.features[1], sampler.once(dataset()[1].features.read(), 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("parts, message", [
    ({}, "both of once and anew, or neither"), ({"once": doubled, "anew": doubled}, "both of once and anew, or neither"),
    ({"anew": doubled, "cut": True}, "expected length with once, and cut with length"),
    ({"anew": doubled, "length": len}, "expected length with once"), ({"once": doubled, "cut": True}, "cut with length")])
def test_parts_of_a_sampler_that_do_not_go_together(parts, message):
    with pytest.raises(InputError, match=message):
        Sampler(**parts)


def test_videos_that_cannot_be_sampled_are_named():
    videos = dataset()
    videos[3].features.read = lambda: np.zeros((10, 8, 3), np.float32)
    with pytest.raises(InputError) as caught:
        TrainingSet(videos, 4, sampler=find_sampler("unit-segments"))
    assert str(caught.value).split("\n  ") == ["1 of 7 videos have features that cannot be sampled",
                                               "v3: segment 0 is all zero, expected one that can be divided by its norm"]
    with pytest.raises(InputError, match=r"v0: \(10, 5, 3\) became \(10, 5, 3\), expected \(10, 4, 3\)"):
        TrainingSet(dataset(), 4, sampler=Sampler(once=lambda features, size: features))


@pytest.mark.parametrize("name", ["segments", "snippets"])
def test_a_recipe_says_how_its_videos_are_sampled(name):
    import wvad_core as wv

    recipe = Recipe(segments=4, videos=2, steps=1, sampling=name)
    found = read_training_set(dataset(), recipe, "rtfm", wv.create("rtfm", feature_dim=16, hidden_dims=(8, 4)).config)
    assert found.sampler is find_sampler(name)
    assert found.batch(0, 2, 0).features.shape == (4, 4, 3)
