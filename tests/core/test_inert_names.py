"""What training scripts save beside the weights does not keep them from being read: nothing is made of it, and nothing run."""
import argparse
import collections
import datetime
import decimal
import fractions
import pathlib
import pickle
import random
import uuid

import numpy as np
import pytest

from test_pytorch_files import refusal, same
from test_pytorch_security import ARRAY, FORMS, archive, frugal, legacy, plain, tensor, text
from wvad_core.checkpoints.formats import pytorch
from wvad_core.checkpoints.unpickler import unpickling
from wvad_core.checkpoints.unpickler.stand_ins import INERT

STATE = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.ones(2)}
DEEP = pathlib.PurePosixPath(*"abcdefghijklmnopqrstuvwxyz")
BESIDE = {
    "namespace": argparse.Namespace(lr=0.1, out=DEEP, layers=[1, (2, {3})], state=STATE),
    "paths": [pathlib.Path("a/b"), DEEP, pathlib.PureWindowsPath("c:/x")],
    "slices": [slice(1, None, 2), range(3)],
    "deques": [collections.deque([0.5, STATE], 3)],
    "dates": [datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc), datetime.date(2020, 1, 2), datetime.time(1),
              datetime.timedelta(hours=2)],
    "numbers": [decimal.Decimal("0.1"), fractions.Fraction(1, 3), uuid.UUID(int=1), np.float64(2), complex(1, 2)],
    "generators": [np.random.RandomState(0), np.random.default_rng(0), np.random.Generator(np.random.Philox(1)),
                   random.Random(1), np.random.RandomState(0).get_state()],
    "defaults": collections.defaultdict(list, a=[1.5]),
}
NAMES = [f"{module} {name}" for module, names in INERT.items() for name in names.split()]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("key", [*BESIDE, "all"])
def test_weights_beside_what_scripts_save(tmp_path, key, protocol):
    beside = BESIDE if key == "all" else {key: BESIDE[key]}
    content = {"epoch": 3, **beside, "model": STATE}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol))
    same(pytorch.read(tmp_path / "x.pkl").tensors, STATE)


def ways(name):
    """Opcodes that make something of a name, from a tensor, and give it more tensors in every way that there is."""
    named, inner = b"c" + name.replace(" ", "\n").encode() + b"\n", tensor()[:-1]
    made = [named + inner + b"\x85R", named + b")R", named + inner + b"\x85\x81", b"(" + inner + b"i" + named[1:],
            b"(" + named + inner + b"o", b"\x8c" + bytes([len(name.split()[0])]) + name.split()[0].encode()
            + text(name.split()[1]) + b"\x93)R", named + b"(" + b"N" * 50 + b"tR"]
    given = [b"", inner + b"b", inner + inner + b"\x86b", b"K\1a", inner + b"a", b"(" + inner + b"K\2e", text("w") + inner + b"s",
             b"(" + text("w") + inner + text("v") + b"K\1u", b"(" + inner + b"\x90"]
    return [made[0] + b"".join(given), *(each + given[1] for each in made), *(made[1] + each for each in given)]


@pytest.mark.parametrize("form, names", [(archive, NAMES), (legacy, NAMES[:3])], ids=["archive", "legacy"])
def test_stand_ins_take_everything_and_keep_nothing(tmp_path, form, names):
    """{"w": tensor, "x": stand-in}; the tensors that the stand-in is made of and given have the same name."""
    for name in names:
        for code in ways(name):
            code = tensor()[:-1] + text("x") + code + b"s."
            same(pytorch.read(form(tmp_path / "x.pt", code, {"0": ARRAY.tobytes()})).tensors, {"w": ARRAY})


@pytest.mark.parametrize("name", ["argparse Namespace", "easydict EasyDict", "collections deque", "copyreg _reconstructor"])
def test_no_tensor_comes_through(tmp_path, name):
    """Nor as the file's only content, as a dict's value, as a tensor's parts, or by being called itself."""
    path, named = tmp_path / "x.pt", b"c" + name.replace(" ", "\n").encode() + b"\n"
    storages, made = {"0": ARRAY.tobytes()}, named + tensor()[:-1] + b"\x85R" + tensor()[:-1] + b"b"
    for code, expected in (
            (made, "holds no dict but something else"),
            (b"}" + text("model") + made + b"s", "holds no state dict: "),
            (b"]" + made + b"a", "holds no dict but a list"),
            (made + b")R", "its pickle calls object"),
            (made + b")\x81", "its pickle calls object"),
            (b"}" + text("w") + b"ctorch._utils\n_rebuild_parameter\n" + made + b"\x85Rs", "not a whole PyTorch file"),
            (b"}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + made + b"K\0))tRs", "not a whole PyTorch file"),
            (b"}" + text("w") + b"ctorch._tensor\n_rebuild_from_type_v2\n(" + named + b"N" + tensor()[:-1] + b"\x85NtRs",
             "tensor w is a tensor of a class of its own"),
            (b"}" + text("w") + b"ctorch.storage\n_load_from_bytes\n" + named + b")R\x85Rs", "not a whole PyTorch file")):
        assert refusal(archive(path, b"\x80\x02" + code + b".", storages)).startswith(expected), code


@FORMS
@pytest.mark.parametrize("name", [
    "pathlib os.system", "pathlib._local os.system", "argparse _sys.exit", "argparse Namespace.__init__", "datetime sys.exit",
    "datetime datetime.__class__", "collections deque.__init__", "collections _sys.exit", "builtins eval", "builtins getattr",
    "__builtin__ apply", "copyreg __newobj__", "copyreg add_extension", "random _os.system", "numpy.random bit_generator",
    "typing get_type_hints", "omegaconf.base yaml.load", "pathlib Path.unlink", "functools partial", "operator attrgetter",
    "types SimpleNamespace", "os system", "nt system"])
def test_other_names_of_these_modules_end_the_reading(tmp_path, form, name):
    module, attribute = name.split()
    for named in (b"c" + name.replace(" ", "\n").encode() + b"\n", text(module) + text(attribute) + b"\x93"):
        shown = name.replace(" ", ".").replace("__builtin__", "builtins")
        assert refusal(form(tmp_path / "x.pt", b"\x80\x02" + named + text("x") + b"\x85R.")) == (
            f"its pickle would call {shown}; refused, only tensors and plain containers are built")


def test_what_a_stand_in_is_made_of_is_looked_at(tmp_path):
    """A call of another sort among its arguments, or in its state, is refused and not run."""
    mark = tmp_path / "mark"
    called = b"cos\nsystem\n" + text(f"touch {mark}") + b"\x85R"
    for code in (b"cpathlib\nPath\n" + called + b"\x85R.", b"cargparse\nNamespace\n)R}" + text("a") + called + b"sb.",
                 b"ccollections\ndeque\n)R" + called + b"a."):
        assert refusal(plain(tmp_path / "x.pt", code)).startswith("its pickle would call os.system; refused")
        assert not mark.exists()
    pickle.loads(b"\x80\x04ccollections\ndeque\n)R" + called + b"a.")
    assert mark.exists()


def test_stand_ins_copy_nothing(tmp_path):
    """One call of many arguments again and again."""
    code = b"(" + b"N" * 50_000 + b"tq\0ccollections\ndeque\nq\1h\0R" + b"h\1h\0R0" * 20_000 + b"."
    assert frugal(plain(tmp_path / "x.pt", code)) == "holds no dict but something else, expected a state dict"


@pytest.mark.parametrize("code", [b"c", b"cos\n", b"(i", b"S'", b"V", b"I", b"F", b"L", b"g", b"p", b"P"])
def test_lines_have_a_bound(tmp_path, monkeypatch, code):
    code = b"\x80\x02" + code
    monkeypatch.setattr(unpickling, "LINE", 1000)
    assert refusal(plain(tmp_path / "x.pt", code + bytes(2000) + b"\n.")) == "its pickle has a line of more than 1000 bytes"
    assert "a line of" not in refusal(plain(tmp_path / "x.pt", code + bytes(990) + b"\n."))


def test_a_long_line_that_no_bound_is_on(tmp_path):
    """An array in the oldest protocol is one."""
    state = {"a": np.random.default_rng(0).random(5000)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(state, 0))
    same(pytorch.read(tmp_path / "x.pkl").tensors, state)
