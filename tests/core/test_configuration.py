"""What settings a configuration takes, and what it says of others."""
import dataclasses
import inspect
import json
import re

import pytest

import wvad_core as wv
from wvad_core.blocks import configuration
from wvad_core.checkpoints.assumed import text
from wvad_core.registry import specification


@dataclasses.dataclass(frozen=True)
class Config(configuration.Config):
    count: int = 3
    steps: int = configuration.at_least(0, 10)
    share: float = 0.5
    kind: str = "plain"
    pair: tuple[int, int] = (1, 2)
    sizes: tuple[int, ...] = (2, 4)


def test_values_take_the_type_of_the_default():
    made = configuration.configure(Config, {"count": 4.0, "steps": 0, "share": 1, "pair": [3, 4], "sizes": [5]}, "it")
    assert made == Config(4, 0, 1.0, "plain", (3, 4), (5,))
    assert [type(value) for value in (made.count, made.share)] == [int, float]
    assert Config().as_dict() == {"count": 3, "steps": 10, "share": 0.5, "kind": "plain", "pair": (1, 2), "sizes": (2, 4)}


@pytest.mark.parametrize("setting, expected", [
    ({"count": 0}, "setting count: expected a positive whole number, found 0"),
    ({"count": 1.5}, "setting count: expected a positive whole number, found 1.5"),
    ({"count": True}, "setting count: expected a positive whole number, found True"),
    ({"steps": -1}, "setting steps: expected a whole number that is not negative, found -1"),
    ({"steps": 0.5}, "setting steps: expected a whole number that is not negative, found 0.5"),
    ({"share": -0.1}, "setting share: expected a number that is not negative, found -0.1"),
    ({"kind": 3}, "setting kind: expected a word, found 3"),
    ({"pair": [1]}, "setting pair: expected 2 numbers such as"),
    ({"sizes": [2, 0]}, "setting sizes: expected a positive whole number, found 0"),
    ({"cuont": 2}, "it has no setting 'cuont'; did you mean count"),
])
def test_other_values_are_refused(setting, expected):
    with pytest.raises(wv.InputError) as raised:
        configuration.configure(Config, setting, "it")
    assert expected in str(raised.value)


@pytest.mark.parametrize("method", wv.list_methods())
def test_every_setting_is_described(method):
    kind = specification(method).Config
    described = {name for base in kind.__mro__ if base is not object and base.__doc__
                 for line in inspect.cleandoc(base.__doc__).splitlines() if (match := re.match(r"([a-z_][\w, ]*): \S", line))
                 for name in match[1].split(", ")}
    assert {field.name for field in dataclasses.fields(kind)} <= described


@dataclasses.dataclass(frozen=True)
class Varied(configuration.Config):
    """What later methods need besides: truths, numbers below 0, what may be left out, words in lists."""
    on: bool = True
    shift: float = configuration.at_least(None, -0.5)
    offset: int = configuration.at_least(-3, -1)
    window: int | None = None
    scale: float | None = 0.5
    mode: str = configuration.one_of("slide", "fixed")
    names: tuple[str, ...] = ("Normal", "Fight")
    none: tuple[str, ...] = ()
    pair: tuple[float, float] | None = None


@pytest.mark.parametrize("name, given, expected", [
    ("on", False, False), ("on", True, True), ("shift", -2, -2.0), ("shift", 1e1, 10.0), ("offset", -3, -3), ("offset", 0, 0),
    ("window", 7, 7), ("window", 7e0, 7), ("window", None, None), ("scale", None, None), ("scale", 0, 0.0),
    ("mode", "fixed", "fixed"), ("names", "a,b,c", ("a", "b", "c")), ("names", "a", ("a",)), ("names", "", ()),
    ("names", ["a", "b"], ("a", "b")), ("none", "x,climbing over", ("x", "climbing over")), ("pair", [1, 2], (1.0, 2.0)),
    ("pair", None, None)])
def test_values_as_the_command_line_and_json_have_them(name, given, expected):
    made = configuration.configure(Varied, {name: given}, "it")
    assert made == Varied(**{name: expected}) and type(getattr(made, name)) is type(expected)
    assert configuration.configure(Varied, json.loads(json.dumps(made.as_dict())), "it") == made


def test_values_as_text():
    """As the command line takes them again."""
    values = (True, None, -0.5, (2, 4), (2,), ("a", "b"), ("a",), "slide")
    assert [text(value) for value in values] == ["true", "none", "-0.5", "2,4", "2,", "a,b", "a", "slide"]


@pytest.mark.parametrize("setting, expected", [
    ({"on": 1}, "setting on: expected true or false, found 1"), ({"on": "yes"}, "setting on: expected true or false, found 'yes'"),
    ({"on": None}, "setting on: expected true or false, found None"),
    ({"shift": float("nan")}, "setting shift: expected a number, found nan"),
    ({"shift": float("inf")}, "setting shift: expected a number, found inf"),
    ({"shift": None}, "setting shift: expected a number, found None"),
    ({"shift": True}, "setting shift: expected a number, found True"),
    ({"offset": -4}, "setting offset: expected a whole number of at least -3, found -4"),
    ({"offset": 0.5}, "setting offset: expected a whole number of at least -3, found 0.5"),
    ({"window": 0}, "setting window: expected a positive whole number or none, found 0"),
    ({"window": "wide"}, "setting window: expected a positive whole number or none, found 'wide'"),
    ({"scale": -1}, "setting scale: expected a number that is not negative or none, found -1"),
    ({"mode": "slid"}, "setting mode: expected one of slide, fixed, found 'slid'"),
    ({"names": 3}, "setting names: expected words such as ['Normal', 'Fight'], found 3"),
    ({"names": [3]}, "setting names: expected a word, found 3"),
    ({"pair": 1}, "setting pair: expected 2 numbers or none, found 1"),
    ({"widow": 3}, "it has no setting 'widow'; did you mean window")])
def test_other_kinds_of_values_are_refused(setting, expected):
    with pytest.raises(wv.InputError) as raised:
        configuration.configure(Varied, setting, "it")
    assert expected in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_tried_where_a_file_does_not_say():
    assert configuration.alternatives(Varied) == {"on": (True, False), "window": (None, 1), "mode": ("slide", "fixed")}
