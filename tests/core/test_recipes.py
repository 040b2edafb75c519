"""Recipes and options: what they accept, how their values are overridden, and that a JSON file brings them back."""
import dataclasses
import json
import math
from pathlib import Path

import pytest

import wvad_core as wv
from wvad_core.blocks.configuration import Config
from wvad_core.errors import InputError
from wvad_core.registry import specification
from wvad_core.training.options import Options
from wvad_core.training.overrides import parse, resolve
from wvad_core.training.recipe import Group, Recipe, from_dict

PLAIN = {"segments": 32, "videos": 16, "steps": 100}
HEAD = {"prefix": "head.", "learning_rate": 1e-3}
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
    found = resolve(spec.RECIPES[dataset], spec.Config, {}, method)
    assert found.recipe.settings == found.config.as_dict()
    assert found.config == (spec.DEMO if dataset == "demo" else spec.Config(**spec.RECIPES[dataset].get("settings", {})))
    again = json.loads(json.dumps(found.recipe.as_dict()))
    assert from_dict(again).rates(1) == found.recipe.rates(1)
    assert resolve(again, spec.Config, {}, method) == found
    assert Options(**json.loads(json.dumps(found.options.as_dict()))) == found.options


@pytest.mark.parametrize("method, dataset", CASES)
def test_recipes_are_plain_data(method, dataset):
    """What JSON has, but for tuples: methods import nothing from training."""
    assert json.loads(json.dumps(specification(method).RECIPES[dataset]))
    assert "from ..training" not in Path(specification(method).module.__file__).read_text()


@pytest.mark.parametrize("method, dataset", CASES)
def test_a_method_that_counts_segments_trains_on_that_many(method, dataset):
    spec = specification(method)
    config = resolve(spec.RECIPES[dataset], spec.Config, {}, method).config
    if dataset != "demo" and hasattr(config, "num_segments"):
        assert config.num_segments == spec.RECIPES[dataset]["segments"]


def test_values_of_the_recipe_the_options_the_method_and_a_group_are_overridden():
    values = PLAIN | {"groups": [HEAD | {"warm_up": "warm"}], "settings": {"margin": 2.0}}
    overrides = {"steps": 7, "betas": [0.5, 0.9], "head.decay": 0.5, "warm": 3, "segments": 20, "seed": 4, "patience": 2}
    found = resolve(values, Toy, overrides, "toy")
    assert (found.recipe.steps, found.recipe.betas, found.recipe.segments, found.recipe.videos) == (7, (0.5, 0.9), 20, 16)
    assert found.recipe.groups == (Group("head.", 1e-3, decay=0.5, warm_up=3),)
    assert found.config == Toy(num_segments=20, warm=3, margin=2.0)
    assert (found.options.seed, found.options.patience, found.options.select) == (4, 2, "test")
    assert resolve(values, Toy, {"segments": 20, "num_segments": 4}, "toy").config.num_segments == 4


def test_the_seed_is_the_runs_or_else_the_authors():
    authors = PLAIN | {"seed": 2022}
    assert resolve(authors, Toy, {}, "toy").options.seed == 2022 and resolve(PLAIN, Toy, {}, "toy").options.seed == 0
    found = resolve(authors, Toy, {"seed": 0}, "toy")
    assert (found.recipe.seed, found.options.seed) == (2022, 0), "what the authors took stays"


@pytest.mark.parametrize("steps, published, chosen, expected", [
    (1000, None, None, 100), (1000, 5, None, 100), (100, 5, None, 5), (400, 20, None, 20), (1000, 5, "published", 5),
    (1000, 5, 7, 7), (1000, None, 7, 7)])
def test_how_often_a_run_validates(steps, published, chosen, expected):
    """As often as the authors where that is asked for, or at most 20 times; else every 100 steps."""
    found = resolve(PLAIN | {"steps": steps, "evaluate_every": published}, Toy, {"evaluate_every": chosen}, "toy")
    assert (found.options.evaluate_every, found.recipe.evaluate_every) == (expected, published)


def test_a_run_that_goes_back_to_its_best_weights_validates_as_often_as_published():
    """It would train in another way: from the few weights that were validated."""
    recipe = PLAIN | {"steps": 1000, "evaluate_every": 10, "reload_best_every": 125}
    assert resolve(recipe, Toy, {}, "toy").options.evaluate_every == 10
    assert resolve(recipe, Toy, {"evaluate_every": 50}, "toy").options.evaluate_every == 50


def test_an_interval_that_nobody_has_published_cannot_be_taken():
    with pytest.raises(InputError, match="the recipe does not say how often its authors validated, found 'published'"):
        resolve(PLAIN, Toy, {"evaluate_every": "published"}, "toy")


@dataclasses.dataclass(frozen=True)
class Namesake(Config):
    steps: int = 5
    margin: float = 1.0
    seed: int = 1


def test_a_name_of_the_recipe_and_of_the_method_is_told_apart():
    found = resolve(PLAIN, Namesake, {"recipe.steps": 7, "config.margin": 3.0, "options.seed": 5}, "toy")
    assert (found.recipe.steps, found.config, found.options.seed) == (7, Namesake(steps=5, margin=3.0), 5)
    found = resolve(PLAIN, Namesake, {"config.steps": 7}, "toy")
    assert (found.recipe.steps, found.config) == (100, Namesake(steps=7))
    with pytest.raises(InputError, match="steps is a value of the recipe and a setting of toy, expected recipe.steps or "
                                         "config.steps"):
        resolve(PLAIN, Namesake, {"steps": 7}, "toy")
    with pytest.raises(InputError, match="seed is an option and a setting of toy, expected options.seed or config.seed"):
        resolve(PLAIN, Namesake, {"seed": 7}, "toy")
    with pytest.raises(InputError, match="margin and config.margin are one value, expected one of them"):
        resolve(PLAIN, Namesake, {"margin": 1.0, "config.margin": 2.0}, "toy")
    with pytest.raises(InputError, match="no value 'recipe.margin'; did you mean .*margin"):
        resolve(PLAIN, Namesake, {"recipe.margin": 1.0}, "toy")


@pytest.mark.parametrize("method", wv.list_methods())
def test_no_setting_of_these_methods_has_the_name_of_a_recipes_value(method):
    settings = {field.name for field in dataclasses.fields(specification(method).Config)}
    assert not settings & {field.name for kind in (Recipe, Options) for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("key, near", [("learning_rat", "learning_rate"), ("wam", "warm"), ("head.decoy", "head.decay"),
                                       ("patients", "patience")])
def test_an_unknown_key_names_the_near_ones(key, near):
    with pytest.raises(InputError, match=f"toy and its recipe have no value '{key}'; did you mean .*{near}"):
        resolve(PLAIN | {"groups": [HEAD]}, Toy, {key: 1}, "toy")


@pytest.mark.parametrize("values, message", [
    ({"videos": 2, "steps": 1}, "the recipe of toy: has no segments, expected at least segments, videos and steps"),
    (PLAIN | {"segment": 2}, "the recipe of toy: has no value 'segment'; did you mean segments"),
    (PLAIN | {"groups": [{"prefix": "a.", "rate": 1}]}, "the recipe of toy, groups: has no value 'rate'")])
def test_data_that_make_no_recipe(values, message):
    with pytest.raises(InputError, match=message):
        resolve(values, Toy, {}, "toy")


def test_whole_floats_are_whole_numbers_and_rates_stay_as_they_are():
    found = resolve(PLAIN, Toy, parse(["steps=1e3", "save_every=2e1", "milestones=5e0,1e1", "learning_rate=1e0"]), "toy")
    assert (found.recipe.steps, found.options.save_every, found.recipe.milestones) == (1000, 20, (5, 10))
    assert all(isinstance(value, int) for value in (found.recipe.steps, found.options.save_every, *found.recipe.milestones))
    assert isinstance(found.recipe.learning_rate, float)


@pytest.mark.parametrize("change, message", [
    ({"steps": 0}, "setting steps: expected a positive whole number, found 0"),
    ({"steps": 2.5}, "setting steps: expected a positive whole number, found 2.5"),
    ({"videos": True}, "setting videos"), ({"learning_rate": 0}, "setting learning_rate: expected a positive number"),
    ({"learning_rate": None}, "setting learning_rate"), ({"learning_rate": float("nan")}, "setting learning_rate"),
    ({"learning_rate": "fast"}, "setting learning_rate: expected a positive number, found 'fast'"),
    ({"clip_norm": -1}, "setting clip_norm"), ({"weight_decay": -1e-3}, "setting weight_decay"),
    ({"seed": -1}, "setting seed"), ({"holdout": 1}, "setting holdout: expected a share between 0 and 1"),
    ({"betas": [0.9]}, "setting betas: expected two numbers"), ({"betas": [0.9, 1]}, "setting betas"),
    ({"betas": 1}, "setting betas"), ({"eps": 0}, "setting eps: expected a positive number"),
    ({"momentum": -0.1}, "setting momentum"), ({"optimiser": "adadelta"}, "setting optimiser: expected adam or adamw"),
    ({"schedule": "linear"}, "setting schedule: expected constant or step"),
    ({"schedule": "step"}, "setting decay_steps: expected a positive whole number with schedule=step, found None"),
    ({"schedule": "multi-step"}, "setting milestones: expected steps with schedule=multi-step"),
    ({"milestones": [8, 4]}, "setting milestones: expected positive whole numbers that rise"),
    ({"milestones": 8}, "setting milestones"), ({"warm_up_steps": -1}, "setting warm_up_steps"),
    ({"select": "train"}, "setting select: expected test or holdout, found 'train'"), ({"metric": "f1"}, "setting metric"),
    ({"crops": "first"}, "setting crops"), ({"precision": "fp8"}, "setting precision"), ({"compile": 1}, "setting compile"),
    ({"evaluate_every": "often"}, "setting evaluate_every: expected a positive whole number or published"),
    ({"save_every": 0}, "setting save_every"), ({"patience": 0}, "setting patience"), ({"margin": -1}, "setting margin")])
def test_values_out_of_range(change, message):
    with pytest.raises(InputError, match=message):
        resolve(PLAIN, Toy, change, "toy")


@pytest.mark.parametrize("change", [{"head.decay": -1}, {"head.decay_steps": 0}, {"head.learning_rate": "fast"},
                                    {"head.warm_up": -1}])
def test_values_of_groups_out_of_range(change):
    with pytest.raises(InputError, match=f"setting {next(iter(change))}"):
        resolve(PLAIN | {"groups": [HEAD]}, Toy, change, "toy")


def rates(steps: int = 12, **values: object) -> list[float]:
    """The rates of a recipe's steps, by its only rate of 1."""
    recipe = from_dict(PLAIN | {"steps": steps, "learning_rate": 1.0} | values)
    return [recipe.rates(step)[0] for step in range(1, steps + 1)]


def test_schedules_by_hand():
    assert rates(3) == [1, 1, 1]
    assert rates(7, schedule="step", decay=0.5, decay_steps=3) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    assert rates(6, schedule="multi-step", decay=0.5, milestones=(1, 4)) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert rates(4, schedule="cosine") == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    assert rates(5, schedule="cosine", decay_steps=2, final_rate=0.2) == pytest.approx([1, 0.6, 0.2, 0.2, 0.2])
    assert rates(5, warm_up_steps=4) == [0.25, 0.5, 0.75, 1, 1]
    assert rates(5, warm_up_steps=2, schedule="step", decay=0.5, decay_steps=2) == [0.5, 1, 0.5, 0.5, 0.25]
    per_epoch = rates(6, schedule="cosine", decay_steps=4, schedule_every=2)
    assert per_epoch == pytest.approx([1, 1, 0.5, 0.5, 0, 0])


@pytest.mark.parametrize("values, made", [
    ({"schedule": "step", "decay": 0.9, "decay_steps": 4}, lambda torch, o: torch.StepLR(o, 4, 0.9)),
    ({"schedule": "multi-step", "milestones": (3, 7)}, lambda torch, o: torch.MultiStepLR(o, [3, 7])),
    ({"schedule": "cosine", "final_rate": 0.1}, lambda torch, o: torch.CosineAnnealingLR(o, 12, 0.1)),
    ({"warm_up_steps": 4}, lambda torch, o: torch.LinearLR(o, 0.25, 1, 3))])
@pytest.mark.needs("torch")
def test_schedules_are_pytorchs(values, made):
    import torch

    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    schedule, expected = made(torch.optim.lr_scheduler, optimiser), []
    for _ in range(12):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    assert rates(**values) == pytest.approx(expected)


def test_the_schedule_is_of_all_groups_and_each_has_its_own_decay():
    recipe = from_dict(PLAIN | {"learning_rate": 1.0, "schedule": "multi-step", "decay": 0.1, "milestones": [4], "groups": [
        {"prefix": "a.", "learning_rate": 2.0, "decay": 0.5, "decay_steps": 2, "warm_up": 1}]})
    found = [recipe.rates(step) for step in (1, 2, 4, 5, 6)]
    assert found[0] == [1.0, None]
    assert [pair for pair in found[1:]] == [pytest.approx(pair) for pair in ([1, 2], [1, 1], [0.1, 0.1], [0.1, 0.05])]


def test_words_of_the_command_line():
    words = ["steps=100", "learning_rate=1e-3", "clip_norm=none", "compile=true", "betas=0.5,0.9", "a=[1, 2]",
             "select=holdout", "b="]
    assert parse(words) == {"steps": 100, "learning_rate": 1e-3, "clip_norm": None, "compile": True, "betas": [0.5, 0.9],
                            "a": [1, 2], "select": "holdout", "b": ""}
    with pytest.raises(InputError, match="'steps': expected KEY=VALUE"):
        parse(["steps"])
    with pytest.raises(InputError, match="steps is given twice"):
        parse(["steps=1", "steps=2"])
