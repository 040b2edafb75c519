"""Writes docs/methods.md from the specifications: their docstrings, papers, recipes, protocols. Run: python docs/make_methods.py"""
from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import wvad_core as wv
from wvad_core import conventions
from wvad_core.blocks import magnitude
from wvad_core.cli import methods
from wvad_core.registry import MethodSpecification, specification
from wvad_core.training.recipe import Group, Recipe, from_dict

PAGE = Path(__file__).with_name("methods.md")
HEAD = """# The methods

What each method computes, how its authors train and evaluate it, what they report, and where their paper and their code
differ. Settings are those of each `Config`, other words of a recipe those of `wvad_core.training.recipe.Recipe`. Made of the
specifications by `python docs/make_methods.py`. B are videos, N crops, T snippets of 16 frames, D features,
s scores, bce the binary cross entropy.
"""
EVALUATION = """## Protocols of evaluation

`wvad test --protocol uniform`, the default, evaluates all methods alike: videos are scored as `detector.score` has it, by the
detector's own settings, all crops averaged where the method takes more than one; each snippet stands for 16 frames, and the
dataset's ground truth is drawn on these. `--protocol published` does what a method's authors did ([scoring](scoring.md)):
"""
CHOICE = "Paper and code: "
"""The last part of a specification's docstring begins with it: where they differ, and what is followed."""
DEFAULTS = {field.name: field.default_factory() if field.default is MISSING and field.default_factory is not MISSING else
            field.default for field in fields(Recipe)}
SHARED = {"Feature magnitudes": magnitude}
"""Modules that several specifications refer to."""
ALWAYS = ("segments", "videos", "steps", "batches", "crops", "optimiser", "learning_rate", "weight_decay")
"""The fields of a recipe that are always shown."""


def page() -> str:
    """The whole page: the methods of this library by name, then what several of them share."""
    own = {name: spec for name in wv.list_methods() if (spec := specification(name)).module.__name__.startswith("wvad_core.")}
    links = ", ".join(f"[{name}](#{name})" for name in own)
    shared = [f"## {title}\n\n`{module.__name__}`\n\n{inspect.getdoc(module)}\n" for title, module in SHARED.items()]
    return "\n".join([HEAD, links + "\n", *(entry(name, spec) for name, spec in own.items()), *shared, *protocols(own)])


def protocols(own: Collection[str]) -> Iterator[str]:
    """The table of how authors evaluate their methods."""
    yield EVALUATION
    rows = [(f"`{name}`", methods.DATASETS.get(dataset, dataset) or "all", words) for name, dataset, words in
            conventions.differences() if name in own]
    yield from map(row, [("method", "dataset", "`published`, where it is not `uniform`"), ("---",) * 3, *rows])
    yield ""


def entry(name: str, spec: MethodSpecification) -> str:
    formula, choice = parts(spec)
    paper = spec.PAPER or methods.UNPUBLISHED
    return "\n".join([f"## {name}\n", f"[{paper.title}]({paper.link}), {paper.authors} {paper.year}. Published, in percent: "
                      f"{methods.results(paper.results, '; ')}.\n", formula, "\n### Paper and code\n", choice,
                      "\n### Training\n", *recipes(spec.RECIPES), ""])


def parts(spec: MethodSpecification) -> tuple[str, str]:
    """Idea and formula, and what is followed where paper and code differ, of the docstring behind its first paragraph."""
    text = inspect.getdoc(spec.module) or ""
    formula, _, choice = text.partition(f"\n\n{CHOICE}")
    return formula.partition("\n\n")[2].strip(), choice[:1].upper() + choice[1:].strip()


def recipes(of: Mapping[str, Any]) -> Iterator[str]:
    """A table of the published recipes: what is required, and what any of them has other than the defaults of `Recipe`."""
    made = {methods.DATASETS.get(name, name): from_dict(values).as_dict() for name, values in of.items() if name != "demo"}
    told = [name for name in DEFAULTS if name in ALWAYS or any(values[name] != DEFAULTS[name] for values in made.values())]
    yield from map(row, ([""] + list(made), ["---"] * (len(made) + 1),
                         *([name, *(shown(values[name]) for values in made.values())] for name in told)))


def row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def shown(value: Any) -> str:
    """A recipe's value: of a group of parameters, or of settings, each by its name."""
    if isinstance(value, Mapping):
        plain = {f.name: f.default for f in fields(Group)} if "prefix" in value else {}
        return ", ".join(f"{name} {shown(of)}" for name, of in value.items() if name not in plain or of != plain[name])
    if isinstance(value, (tuple, list)):
        return "; ".join(map(shown, value)) if value and isinstance(value[0], Mapping) else ", ".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else "" if value is None else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
