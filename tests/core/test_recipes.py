"""Recipes: what they accept, how their values are overridden, and that a JSON file brings them back."""
import dataclasses
import json

import pytest

import wvad_core as wv
from wvad_core.blocks.configuration import Config
from wvad_core.errors import InputError
from wvad_core.registry import specification
from wvad_core.training.recipes import Group, Recipe, from_dict, parse, resolve

PLAIN = Recipe(segments=32, videos=16, steps=100)
CASES = [(method, dataset) for method in wv.list_methods() for dataset in specification(method).RECIPES]


@dataclasses.dataclass(frozen=True)
class Toy(Config):
    num_segments: int = 32
    warm: int = 10
    margin: float = 1.0
    feature_dim: int = 64


@pytest.mark.parametrize("method, dataset", CASES)
def test_every_recipe_makes_a_configuration_and_survives_json(method, dataset):
    spec = specification(method)
    recipe, config = resolve(spec.RECIPES[dataset], spec.Config, {}, method)
    assert recipe.settings == config.as_dict()
    assert config == (spec.DEMO if dataset == "demo" else spec.Config(**spec.RECIPES[dataset].settings))
    assert from_dict(json.loads(json.dumps(recipe.as_dict()))).rates(1) == recipe.rates(1)
    again, same = resolve(from_dict(json.loads(json.dumps(recipe.as_dict()))), spec.Config, {}, method)
    assert (again, same) == (recipe, config)


@pytest.mark.parametrize("method, dataset", CASES)
def test_a_method_that_counts_segments_trains_on_that_many(method, dataset):
    spec = specification(method)
    config = resolve(spec.RECIPES[dataset], spec.Config, {}, method)[1]
    if dataset != "demo" and hasattr(config, "num_segments"):
        assert config.num_segments == spec.RECIPES[dataset].segments


def test_values_of_the_recipe_the_method_and_a_group_are_overridden():
    recipe = dataclasses.replace(PLAIN, groups=(Group("head.", 1e-3, warm_up="warm"),), settings={"margin": 2.0})
    overrides = {"steps": 7, "betas": [0.5, 0.9], "head.decay": 0.5, "warm": 3, "segments": 20}
    found, config = resolve(recipe, Toy, overrides, "toy")
    assert (found.steps, found.betas, found.segments, found.videos) == (7, (0.5, 0.9), 20, 16)
    assert found.groups == (Group("head.", 1e-3, decay=0.5, warm_up=3),)
    assert config == Toy(num_segments=20, warm=3, margin=2.0)
    assert resolve(recipe, Toy, {"segments": 20, "num_segments": 4}, "toy")[1].num_segments == 4


@dataclasses.dataclass(frozen=True)
class Namesake(Config):
    steps: int = 5
    margin: float = 1.0


def test_a_name_of_the_recipe_and_of_the_method_is_told_apart():
    found, config = resolve(PLAIN, Namesake, {"recipe.steps": 7, "config.margin": 3.0}, "toy")
    assert (found.steps, config) == (7, Namesake(steps=5, margin=3.0))
    found, config = resolve(PLAIN, Namesake, {"config.steps": 7}, "toy")
    assert (found.steps, config) == (100, Namesake(steps=7))
    with pytest.raises(InputError, match="steps is a value of the recipe and a setting of toy, expected recipe.steps or "
                                         "config.steps"):
        resolve(PLAIN, Namesake, {"steps": 7}, "toy")
    with pytest.raises(InputError, match="margin and config.margin are one value, expected one of them"):
        resolve(PLAIN, Namesake, {"margin": 1.0, "config.margin": 2.0}, "toy")
    with pytest.raises(InputError, match="no value 'recipe.margin'; did you mean .*margin"):
        resolve(PLAIN, Namesake, {"recipe.margin": 1.0}, "toy")


@pytest.mark.parametrize("method", wv.list_methods())
def test_no_setting_of_these_methods_has_the_name_of_a_recipes_value(method):
    settings = {field.name for field in dataclasses.fields(specification(method).Config)}
    assert not settings & {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("key, near", [("learning_rat", "learning_rate"), ("wam", "warm"), ("head.decoy", "head.decay")])
def test_an_unknown_key_names_the_near_ones(key, near):
    recipe = dataclasses.replace(PLAIN, groups=(Group("head.", 1e-3),))
    with pytest.raises(InputError, match=f"toy and its recipe have no value '{key}'; did you mean .*{near}"):
        resolve(recipe, Toy, {key: 1}, "toy")


@pytest.mark.parametrize("change, message", [
    ({"steps": 0}, "setting steps: expected a positive whole number, found 0"),
    ({"steps": 2.5}, "setting steps: expected a positive whole number, found 2.5"),
    ({"videos": True}, "setting videos"), ({"learning_rate": 0}, "setting learning_rate: expected a positive number"),
    ({"learning_rate": None}, "setting learning_rate"), ({"learning_rate": float("nan")}, "setting learning_rate"),
    ({"learning_rate": "fast"}, "setting learning_rate: expected a positive number, found 'fast'"),
    ({"clip_norm": -1}, "setting clip_norm"), ({"weight_decay": -1e-3}, "setting weight_decay"),
    ({"seed": -1}, "setting seed"), ({"holdout": 1}, "setting holdout: expected a share between 0 and 1"),
    ({"betas": [0.9]}, "setting betas: expected two numbers"), ({"betas": [0.9, 1]}, "setting betas"),
    ({"betas": 1}, "setting betas"),
    ({"select": "train"}, "setting select: expected test or holdout, found 'train'"), ({"metric": "f1"}, "setting metric"),
    ({"crops": "first"}, "setting crops"), ({"precision": "fp8"}, "setting precision"), ({"compile": 1}, "setting compile"),
    ({"patience": 0}, "setting patience"), ({"margin": -1}, "setting margin")])
def test_values_out_of_range(change, message):
    with pytest.raises(InputError, match=message):
        resolve(PLAIN, Toy, change, "toy")


@pytest.mark.parametrize("change", [{"head.decay": -1}, {"head.decay_steps": 0}, {"head.learning_rate": "fast"}])
def test_values_of_groups_out_of_range(change):
    with pytest.raises(InputError, match=f"setting {next(iter(change))}"):
        resolve(dataclasses.replace(PLAIN, groups=(Group("head.", 1e-3),)), Toy, change, "toy")


def test_words_of_the_command_line():
    words = ["steps=100", "learning_rate=1e-3", "clip_norm=none", "compile=true", "betas=0.5,0.9", "a=[1, 2]",
             "select=holdout", "b="]
    assert parse(words) == {"steps": 100, "learning_rate": 1e-3, "clip_norm": None, "compile": True, "betas": [0.5, 0.9],
                            "a": [1, 2], "select": "holdout", "b": ""}
    with pytest.raises(InputError, match="'steps': expected KEY=VALUE"):
        parse(["steps"])
    with pytest.raises(InputError, match="steps is given twice"):
        parse(["steps=1", "steps=2"])
