"""Writes docs/api.md from the docstrings of the public names. Run: python docs/make_api.py"""
from __future__ import annotations

import enum
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import wvad_core as wv

SPACE = "\u00a0"  # where no line is broken
PAGE = Path(__file__).with_name("api.md")
HEAD = """# The public names

    import wvad_core as wv

Made of the docstrings by `python docs/make_api.py`. B are videos, N crops, T snippets of 16 frames, D features, K classes.
"""


def page() -> str:
    """The whole page: names of the package in the order of the alphabet, then those of its public modules."""
    names = {name: getattr(wv, name) for name in sorted(wv.__all__, key=str.lower)}
    modules = {name: value for name, value in names.items() if isinstance(value, ModuleType)}
    parts = [HEAD, *(entry(f"wv.{name}", value) for name, value in names.items() if callable(value))]
    for name, module in modules.items():
        parts += [f"## wv.{name}\n", text(module), *(entry(f"wv.{name}.{n}", value) for n, value in public(module))]
    return "\n".join(parts).rstrip() + "\n"


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """The functions and classes that a module names in __all__, else those that it defines itself or, as a package, gathers."""
    for name in getattr(module, "__all__", sorted(vars(module), key=str.lower)):
        value, home = getattr(module, name), getattr(vars(module)[name], "__module__", "")
        if not name.startswith("_") and callable(value) and str(home).startswith(module.__name__):
            yield name, value


def entry(name: str, value: object) -> str:
    """A name with its signature and docstring; of a class, its public methods and properties too."""
    if not inspect.isclass(value):
        return f"### {name}\n\n{signature(name, value)}{text(value)}"
    lines = [f"### {name}\n", "" if made_by_hand(value) else signature(name, value).rstrip("\n") + "\n", text(value)]
    for member, function in vars(value).items():
        shown = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
        if member.startswith("_"):
            continue
        if inspect.isfunction(shown):
            lines.append(f"#### .{member}\n\n{signature(member, shown, bound=not isinstance(function, staticmethod))}{text(shown)}")
        elif isinstance(function, property):
            lines.append(f"#### .{member}\n\n{text(function.fget)}")
    return "\n".join(line for line in lines if line)


def made_by_hand(kind: type) -> bool:
    """Whether a class's constructor is nobody's business: exceptions and words."""
    return issubclass(kind, (Exception, enum.Enum))


def signature(name: str, function: object, bound: bool = False) -> str:
    """The call as code; without its first argument where it is bound, and without the defaults that a factory makes."""
    found = inspect.signature(function)
    arguments = list(found.parameters.values())[bound:]
    shown, keyword = [], False
    for argument in arguments:
        if argument.kind is argument.KEYWORD_ONLY and not keyword:
            shown.append("*")
        keyword = keyword or argument.kind in (argument.KEYWORD_ONLY, argument.VAR_POSITIONAL)
        shown.append(_argument(argument))
    returned = "" if inspect.isclass(function) else _annotation(found.return_annotation, " -> {}")
    lines = textwrap.wrap(", ".join(one.replace(" ", SPACE) for one in shown) + ")" + returned.replace(" ", SPACE),
                          108 - len(name), break_long_words=False, break_on_hyphens=False)
    call = f"\n{' ' * (len(name) + 5)}".join(lines).replace(SPACE, " ")
    return f"    {name}({call}\n\n"


def _argument(argument: inspect.Parameter) -> str:
    stars = {argument.VAR_POSITIONAL: "*", argument.VAR_KEYWORD: "**"}.get(argument.kind, "")
    default = ""
    if argument.default is not argument.empty:
        plain = isinstance(argument.default, (str, int, float, bool, tuple, type(None)))
        default = f" = {argument.default!r}" if plain else " = ..."
    return f"{stars}{argument.name}{_annotation(argument.annotation, ': {}')}{default}"


def _annotation(annotation: object, form: str) -> str:
    return "" if annotation is inspect.Signature.empty else form.format(
        annotation if isinstance(annotation, str) else inspect.formatannotation(annotation))


def text(value: object) -> str:
    """The docstring as Markdown: lines that describe arguments or fields become a list."""
    try:
        names = set(inspect.signature(value).parameters) | set(getattr(value, "__annotations__", ()))
    except (TypeError, ValueError):
        names = set()

    def listed(match: re.Match) -> str:
        described = re.split(r", | and ", match[1])
        return f"- {', '.join(f'`{name}`' for name in described)}: " if names.issuperset(described) else match[0]

    return "\n".join(re.sub(r"^([a-z_][\w, ]*): (?=\S)", listed, line)
                     for line in (inspect.getdoc(value) or "").split("\n")) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
