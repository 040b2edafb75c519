"""Recipes of preprocessing: the published ones, one's own in a file, and what is wrong with one."""
import json
import sys

import pytest

import wvad_core as wv
from wvad_core.blocks.configuration import configure
from wvad_core.registry import model_specification
from wvad_core.video.recipe import from_dict

RTFM = {"extractor": "i3d-resnet50", "scale": "kinetics", "resize": "short side 256", "filter": "bilinear", "centre": "round",
        "crops": ["tl", "tr", "bl", "br", "c"], "mirror": "frame", "tail": "repeat", "crop": 224, "sampling": "all", "settings": {}}
"""As RTFM's author describes it."""


def test_the_published_ones_by_name():
    assert list(wv.video.recipes()) == ["rtfm", "roc-ng", "roc-ng-xd", "ur-dmu", "gowtham", "vadclip"]
    assert wv.video.find_recipe("rtfm").as_dict() == RTFM
    assert wv.video.recipes()["roc-ng-xd"].count == 5 and wv.video.recipes()["ur-dmu"].settings == {"norm_eps": 1e-5}


@pytest.mark.parametrize("name", wv.video.recipes())
def test_what_a_recipe_says_of_itself_makes_it_again(name, tmp_path):
    recipe = wv.video.find_recipe(name)
    (tmp_path / "own.json").write_text(json.dumps(recipe.as_dict()))
    assert wv.video.find_recipe(tmp_path / "own.json") == recipe == from_dict(recipe.as_dict())


@pytest.mark.parametrize("name", wv.video.recipes())
def test_a_recipes_extractor_takes_its_settings_and_clips(name):
    """A last clip of fewer frames too, where the recipe may give one."""
    recipe = wv.video.find_recipe(name)
    spec = model_specification(recipe.extractor)
    config = configure(spec.Config, {**recipe.settings, "scale": recipe.scale}, recipe.extractor)
    for frames in (16, 1 if recipe.tail == "partial" else 16):
        spec.clip_sizes(config).check((frames, recipe.crop, recipe.crop), recipe.extractor)


def test_ones_own_in_toml(tmp_path):
    (tmp_path / "own.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in RTFM.items() if key != "settings")
                                       + "\n[settings]\nnon_local = true\n")
    assert wv.video.find_recipe(str(tmp_path / "own.toml")).as_dict() == {**RTFM, "settings": {"non_local": True}}


@pytest.mark.parametrize("change, message", [
    ({"filter": "linear"}, "setting filter: expected opencv-linear or bilinear or bicubic or lanczos, found 'linear'"),
    ({"filter": []}, "setting filter: expected opencv-linear or bilinear or bicubic or lanczos, found []"),
    ({"resize": "256"}, 'setting resize: expected WIDTHxHEIGHT, "short side N" or none, found \'256\''),
    ({"resize": "340x200"}, "setting resize: expected at least the crop's 224 pixels, found '340x200'"),
    ({"resize": 256}, 'setting resize: expected WIDTHxHEIGHT, "short side N" or none, found 256'),
    ({"crops": ["tl", "tl"]}, "setting crops: expected some of tl, tr, c, bl, br, each once, found ('tl', 'tl')"),
    ({"crops": []}, "setting crops: expected some of tl, tr, c, bl, br, each once, found ()"),
    ({"crops": [["tl"]]}, "setting crops: expected some of tl, tr, c, bl, br, each once, found [['tl']]"),
    ({"crops": "tl"}, "setting crops: expected some of tl, tr, c, bl, br, each once, found 'tl'"),
    ({"crop": 0}, "setting crop: expected a whole number from 1 to 8192, found 0"),
    ({"crop": True}, "setting crop: expected a whole number from 1 to 8192, found True"),
    ({"crop": 1e3}, "setting crop: expected a whole number from 1 to 8192, found 1000.0"),
    ({"tail": None}, "setting tail: expected drop or repeat or drop-last or partial, found None"),
    ({"scale": 1}, "setting scale: expected a word, found 1"),
    ({"settings": 1}, "setting settings: expected settings of the extractor, by name, found 1"),
    ({"mirrors": "crop"}, "a recipe has no value 'mirrors' (did you mean mirror?); it has extractor, ")])
def test_what_is_wrong_with_one_is_one_line(change, message, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**RTFM, **change}))
    with pytest.raises(wv.InputError) as caught:
        wv.video.find_recipe(path)
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name, content, message", [
    ("a.json", b"{", "not JSON"), ("a.toml", b"a =", "not TOML"), ("a.json", b"[" * 100000, "not JSON"), ("a.toml", b"a=\xff", "not TOML"),
    ("a.json", b"[]", "a list, expected a recipe's values by name"), ("b.json", None, "cannot be read (No such file or directory)"),
    ("a.toml", b"crop = 224", "has no extractor, scale, resize, filter, crops, mirror, tail, expected a whole recipe")])
def test_files_that_hold_no_recipe(name, content, message, tmp_path):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(wv.InputError) as caught:
        wv.video.find_recipe(path)
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(wv.InputError, match=r"^unknown recipe 'roc_ng' \(did you mean roc-ng\?\); the recipes are rtfm, .*, or a file "):
        wv.video.snippets([], "roc_ng")


def test_toml_without_a_reader_of_it(tmp_path, monkeypatch):
    (tmp_path / "a.toml").write_text("")
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(wv.InputError, match="a.toml: reading TOML needs Python 3.11 or tomli"):
        wv.video.find_recipe(tmp_path / "a.toml")
