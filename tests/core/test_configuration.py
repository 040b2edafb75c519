"""What settings a configuration takes, and what it says of others."""
import dataclasses
import inspect
import re

import pytest

import wvad_core as wv
from wvad_core.blocks import configuration
from wvad_core.registry import specification


@dataclasses.dataclass(frozen=True)
class Config(configuration.Config):
    count: int = 3
    steps: int = configuration.or_none(10)
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
