"""What a file without metadata shows of settings that are true or false, or none; and what it does not show."""
import numpy as np
import pytest
import tagger

import wvad_core as wv
from wvad_core.blocks.tensors import draw
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.formats import safetensors
from wvad_core.checkpoints.identification.recognition import identify


@pytest.fixture(autouse=True)
def install(tagger_installed):
    """As another package's method."""


def found(config: tagger.Config, method: str | None = "tagger", **given):
    tensors = draw(tagger.parameters(config), 0)
    return identify(Contents({name: np.asarray(value) for name, value in tensors.items()}, {}), "x.pt", method, given)


@pytest.mark.parametrize("settings", [{}, {"biased": False}, {"extra": 5}, {"extra": 1}, {"biased": False, "extra": 2},
                                      {"feature_dim": 11, "extra": 7}])
@pytest.mark.parametrize("method", ["tagger", None])
def test_what_tensors_show(settings, method):
    result = found(tagger.Config(**settings), method)
    assert (result.method, result.config) == ("tagger", tagger.Config(**settings))
    assert set(result.assumed.settings) == {"categories", "shift", "smoothing", "squared", "branch"}
    assert result.assumed.settings["squared"] is True and result.assumed.settings["smoothing"] is None


def test_what_is_given_and_not_shown():
    result = found(tagger.Config(), smoothing=3, squared=False, shift=-2, branch="classes")
    assert result.config == tagger.Config(smoothing=3, squared=False, shift=-2.0, branch="classes")
    assert set(result.assumed.settings) == {"categories"}
    assert found(tagger.Config(categories=("a", "b")), categories=["a", "b"]).config.categories == ("a", "b")


def test_what_is_given_and_does_not_fit():
    with pytest.raises(wv.InputError, match="unexpected tensor bias"):
        found(tagger.Config(), biased=False)
    with pytest.raises(wv.InputError, match="setting biased: expected true or false, found 'no'"):
        found(tagger.Config(), biased="no")


def test_the_warning_says_them_as_they_are_given():
    from wvad_core.checkpoints.assumed import text

    result = found(tagger.Config())
    words = [f"{name}={text(value)}" for name, value in result.assumed.settings.items()]
    assert words == ["categories=Normal,Fight,Riot", "shift=-0.5", "smoothing=none", "squared=true", "branch=classifier"]


def test_a_tensor_that_a_published_checkpoint_lacks(tmp_path):
    """It is published in a file of its own; whoever converts the checkpoint has both in one."""
    whole = {name: np.asarray(value) for name, value in draw(tagger.parameters(tagger.Config()), 0).items()}
    safetensors.write(tmp_path / "lacks.safetensors", Contents({n: v for n, v in whole.items() if n != "tags"}, {}))
    np.save(tmp_path / "tags.npy", whole["tags"].astype(np.float64))
    with pytest.raises(wv.InputError, match="missing tensor tags"):
        wv.load(tmp_path / "lacks.safetensors", method="tagger")
    made = wv.load(tmp_path / "lacks.safetensors", method="tagger", companions={"tags": tmp_path / "tags.npy"})
    assert all(np.array_equal(made.weights()[name], value) for name, value in whole.items())
    made.save(tmp_path / "whole.safetensors")
    assert wv.load(tmp_path / "whole.safetensors").weights().keys() == whole.keys()
    for file, name in (("whole", "tags"), ("whole", "other"), ("lacks", "score")):
        with pytest.raises(wv.InputError, match=f"{file}.safetensors: was given {name} besides, expected only what a published"):
            wv.load(tmp_path / f"{file}.safetensors", companions={name: whole["tags"]})
