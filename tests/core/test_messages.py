"""What errors say: one line that a terminal shows as it is, whatever stands in the names and values that it quotes."""
import pickle

import pytest

from wvad_core.errors import Failure, InputError, listing


@pytest.mark.parametrize("error", [InputError, Failure])
def test_what_moves_a_cursor_is_escaped(error):
    said = str(error(f"a\nb\x1b[2J\0\u202e\udcff ü 文: {listing(['x' * 9, 'y'])}"))
    assert said == "a\\nb\\x1b[2J\\x00\\u202e\\udcff ü 文: xxxxxxxxx\n  y"
    assert str(pickle.loads(pickle.dumps(error("a\nb")))) == "a\\nb"


def test_a_long_line_loses_its_middle():
    said = str(InputError("a.csv: found " + "9" * 5000 + ", expected 1"))
    assert said.startswith("a.csv: found 999") and " ... 999" in said and said.endswith(", expected 1")
    assert len(said) < 2000
