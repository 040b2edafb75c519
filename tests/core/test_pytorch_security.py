"""PyTorch files that were made to do harm, and damaged ones: one clear line, nothing run, little memory."""
import io
import pickle
import pickletools
import struct
import tracemalloc
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wvad_core as wv
from test_pytorch_files import refusal
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.formats import pytorch
from wvad_core.checkpoints.unpickler import unpickling

# codecs warns of an escape in an old pickle's text that is none
pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence")
MEMORY = 100 * 1024**2  # of reading a file of less than a megabyte
MAGIC = pickle.dumps(0x1950a86a20f9469cfc6c, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
ARRAY = np.arange(4, dtype=np.float32)


def text(value):
    """A short text as protocol 4 has it."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def binary(content):
    return b"B" + struct.pack("<I", len(content)) + content


def archive(path, code, storages=None, **others):
    """A zip archive as PyTorch writes it, of this pickle and these storages."""
    members = {"data.pkl": code, "byteorder": b"little"} | others
    members |= {f"data/{key}": content for key, content in (storages or {}).items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(f"archive/{name}", content)
    return path


def legacy(path, code, storages=None):
    """The older form."""
    storages = storages or {}
    keys = pickle.dumps(list(storages), 2)
    path.write_bytes(MAGIC + code + keys + b"".join(struct.pack("<q", len(c) // 4) + c for c in storages.values()))
    return path


def plain(path, code, storages=None):
    path.write_bytes(code if code[:1] in b"c\x80" else b"\x80\x02" + code)
    return path


def nested(path, code, storages=None):
    """In the file of a storage that lies in the pickle, as pickle.dump writes tensors."""
    path.write_bytes(b"\x80\x02ctorch.storage\n_load_from_bytes\n" + binary(MAGIC + code) + b"\x85R.")
    return path


# Pickles that call something. Each makes the file MARK where pickle.loads is given it.
def attacks(mark):
    mark, made = str(mark), b"(" + text(str(mark)) + text("w") + b"t"
    command, opened = text(f"touch {mark}"), text(f"open({mark!r}, 'w')")
    return {
        "GLOBAL": ("os.system", b"cos\nsystem\n" + command + b"\x85R."),
        "STACK_GLOBAL": ("os.system", b"\x80\x04" + text("os") + text("system") + b"\x93" + command + b"\x85R."),
        "INST": ("os.system", b"(" + command + b"ios\nsystem\n."),
        "OBJ": ("subprocess.Popen", b"(csubprocess\nPopen\n(" + text("touch") + text(mark) + b"lo."),
        "NEWOBJ": ("_io.FileIO", b"\x80\x02c_io\nFileIO\n)\x81."),
        "NEWOBJ_EX": ("_io.FileIO", b"\x80\x04" + text("_io") + text("FileIO") + b"\x93)}\x92."),
        "eval": ("builtins.eval", b"cbuiltins\neval\n" + opened + b"\x85R."),
        "eval of Python 2": ("builtins.eval", b"c__builtin__\neval\n" + opened + b"\x85R."),
        "exec": ("builtins.exec", b"cbuiltins\nexec\n" + opened + b"\x85R."),
        "open": ("io.open", b"cio\nopen\n" + made + b"R."),
        "subprocess": ("subprocess.call", b"csubprocess\ncall\n(" + text("touch") + text(mark) + b"l\x85R."),
        "posix": ("posix.system", b"cposix\nsystem\n" + command + b"\x85R."),
        "after a good tensor": ("os.system", b"}" + text("a") + b"cos\nsystem\n" + command + b"\x85Rs."),
        "in memo": ("os.system", b"cos\nsystem\nq\x000h\x00" + command + b"\x85R."),
        "attribute": ("collections.OrderedDict.__init__.__class__", b"\x80\x04" + text("collections")
                      + text("OrderedDict.__init__.__class__") + b"\x93" + command + b"\x85R."),
        "numpy.load": ("numpy.load", b"cnumpy\nload\n" + text(mark) + b"\x85R."),
        "torch.load": ("torch.load", b"ctorch\nload\n" + text(mark) + b"\x85R."),
        "BUILD": ("types.SimpleNamespace", b"ctypes\nSimpleNamespace\n)R}" + text("a") + b"K\x01sb."),
        "getattr": ("builtins.getattr", b"cbuiltins\ngetattr\ncos\nsystem\n" + text("__call__") + b"\x86R."),
    }


LIVE = sorted(set(attacks("x")) - {"NEWOBJ", "NEWOBJ_EX", "attribute", "numpy.load", "torch.load", "BUILD", "getattr"})
FORMS = pytest.mark.parametrize("form", [plain, archive, legacy, nested])


@FORMS
@pytest.mark.parametrize("name", attacks("x"))
def test_calls_are_refused_by_name(tmp_path, form, name):
    mark = tmp_path / "mark"
    called, code = attacks(mark)[name]
    message = refusal(form(tmp_path / "x.pt", code))
    assert message == f"its pickle would call {called}; refused, only tensors and plain containers are built"
    assert not mark.exists()


@pytest.mark.parametrize("name", LIVE)
def test_the_attacks_are_alive(tmp_path, name):
    """pickle itself runs them, so that the test above can fail."""
    made = pickle.loads(attacks(tmp_path / "mark")[name][1])
    if hasattr(made, "wait"):
        made.wait()
    elif hasattr(made, "close"):
        made.close()
    assert (tmp_path / "mark").exists()


@FORMS
@pytest.mark.parametrize("code, expected", [
    (b"\x80\x02\x82\x01.", "opcode EXT1 1, "), (b"\x80\x02\x83\1\1.", "opcode EXT2 257, "),
    (b"\x80\x02\x84\1\0\0\0.", "opcode EXT4 1, "), (b"\x80\x02Px\n.", "opcode PERSID x, "),
    (b"\x80\x05\x97.", "opcode NEXT_BUFFER, "), (b"\x80\x02" + text("os.system") + text("x") + b"\x85R.", "calls str"),
    (b"\x80\x02ctorch\nFloatStorage\n)R.", "calls float32"), (b"\x80\x02Np4294967296\n.", "an entry 4294967296 of the memo"),
    (b"\x80\x02ccollections\nOrderedDict\n}" + text("__call__") + b"K\1sb.", "sets attributes of collections.OrderedDict"),
    (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}" + text("a") + b"K\1stb.", "sets attributes of torch._utils._reb"),
    (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\1e.", "appends to torch._utils._rebuild_tensor_v2"),
    (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nK\1K\1s.", "sets items of torch._utils._rebuild_tensor_v2"),
    (b"\x80\x02ccollections\nOrderedDict\n(" + b"N" * 21 + b"tR.", "calls collections.OrderedDict with 21 arguments"),
    (b"\x80\x02" + b"(" * 1001 + b".", "nested too deeply")])
def test_other_tricks(tmp_path, form, code, expected):
    if form is nested:
        code = code if len(code) < 999 else code[:1]
        expected = expected if len(code) > 1 else "not a whole"
    assert expected in refusal(form(tmp_path / "x.pt", code))


def test_building_sets_no_attributes(tmp_path):
    """State is given to a dict, as a state dict's _metadata is; nothing of ours has it afterwards."""
    code = b"\x80\x02ccollections\nOrderedDict\n)R}" + text("__class__") + b"cbuiltins\nint\nsb."
    assert refusal(plain(tmp_path / "x.pt", code)).startswith("holds no state dict")
    assert OrderedDict().__class__ is OrderedDict


# Sizes that are not there


def tensor(count=4, offset=0, shape=(4,), stride=(1,), storage="FloatStorage", key="0"):
    """The pickle of {"w": tensor}, in opcodes that can be read."""
    def numbers(values):
        return "(" + "".join(f"L{value}L\n" for value in values) + "t"

    made = (f"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\n{storage}\nS'{key}'\nS'cpu'\nL{count}L\ntQ"
            f"L{offset}L\n{numbers(shape)}{numbers(stride)}I00\nNtR")
    return f"(dS'w'\n{made}s.".encode()


def test_the_tensor_that_the_others_change(tmp_path):
    for form in (archive, legacy):
        found = pytorch.read(form(tmp_path / "x.pt", tensor(), {"0": ARRAY.tobytes()})).tensors["w"]
        assert np.array_equal(found, ARRAY) and found.dtype == ARRAY.dtype


HUGE = 10**12
SIZES = {
    "stride 0": (dict(shape=(HUGE,), stride=(0,)), "have more than"),
    "stride 0, many axes": (dict(shape=(HUGE,) * 32, stride=(0,) * 32), "have more than"),
    "a claimed storage": (dict(count=HUGE, shape=(HUGE,)), "have more than"),
    "a claimed storage, one element": (dict(count=HUGE, shape=(1,)), f"expected {HUGE} elements of 4 bytes"),
    "past the end": (dict(shape=(5,)), "reaches element 4 of a storage of 4"),
    "stride past the end": (dict(shape=(2,), stride=(4,)), "reaches element 4"),
    "offset past the end": (dict(offset=1), "reaches element 4"),
    "offset of a scalar": (dict(offset=4, shape=(), stride=()), "reaches element 4"),
    "huge stride": (dict(shape=(2,), stride=(2**62,)), "reaches element"),
    "negative shape": (dict(shape=(-1,)), "are not sizes"),
    "negative stride": (dict(stride=(-1,)), "are not sizes"),
    "negative offset": (dict(offset=-1), "are not sizes"),
    "negative count": (dict(count=-1), "not a whole"),
    "beyond int64": (dict(shape=(2**63, 0), stride=(1, 1)), "are not sizes"),
    "endless numbers": (dict(shape=("9" * 4000,)), "are not sizes"),
    "more strides": (dict(stride=(1, 1)), "1 dimensions and 2 strides"),
    "many dimensions": (dict(shape=(1,) * 33, stride=(1,) * 33), "33 dimensions"),
    "another key": (dict(key="../../etc"), "storage '../../etc' is not in the file"),
    "smaller elements": (dict(storage="DoubleStorage"), "expected 4 elements of 8 bytes"),
}


@pytest.mark.parametrize("claims, expected", SIZES.values(), ids=SIZES)
def test_sizes(tmp_path, claims, expected):
    message = frugal(archive(tmp_path / "x.pt", tensor(**claims), {"0": ARRAY.tobytes()}))
    assert expected in message


@pytest.mark.parametrize("count", [5, HUGE, 2**62, -1])
def test_sizes_in_the_older_form(tmp_path, count):
    path = legacy(tmp_path / "x.pt", tensor(), {"0": ARRAY.tobytes()})
    path.write_bytes(path.read_bytes()[:-24] + struct.pack("<q", count) + ARRAY.tobytes())
    assert frugal(path).startswith(f"cut short: storage '0' has {count} elements")


def frugal(path):
    """What is refused, in little memory."""
    tracemalloc.start()
    try:
        message = refusal(path)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    return message


BOMBS = {
    "one list of pairs again and again": b"]q\0(" + b"K\1K\1\x86" * 20_000 + b"e0ccollections\nOrderedDict\nq\1"
                                         + b"h\1h\0\x85R" * 20_000 + b".",
    "one text again and again": b"X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\0c_codecs\nencode\nq\1h\0\x85R"
                                + b"h\1h\0\x85R" * 20_000 + b".",
    "one call of many arguments": b"(" + b"N" * 100_000 + b"tq\0cbuiltins\nset\nq\1h\0R" + b"h\1h\0R0" * 20_000 + b".",
    "one storage of many parts": b"(" + b"N" * 100_000 + b"tq\0Q" + b"h\0Q0" * 20_000 + b".",
    "a far entry of the memo": b"Nr\xff\xff\xff\xff.",
    "lists in lists": b"]" * 50_000 + b"a" * 49_999 + b".",
    "tuples in tuples": b")" + b"\x85" * 100_000 + b".",
    "arrays in arrays": b"cnumpy.core.multiarray\n_reconstruct\nq\0Nq\1" + b"h\0)R(NNNNh\1tbq\1" * 20_000 + b".",
    "a list in itself": b"]q\0h\0a.",
    "a dict in itself": b"}q\0X\1\0\0\0ah\0s.",
    "dicts of dicts": b"}q\0" + b"".join(b"(" + b"".join(text(str(i)) + bytes([104, n]) for i in range(200)) + b"u0}q"
                                         + bytes([n + 1]) for n in range(5)) + b".",
    "a text that is said to be long": b"X\xff\xff\xff\xffabc",
    "bytes that are said to be long": b"\x8e\xff\xff\xff\xff\0\0\0\0abc",
    "a number that is said to be long": b"\x8b\xff\xff\xff\x7fabc",
    "marks": b"(" * 100_000 + b".",
    "no end": b"N" * 100_000,
}


@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS)
def test_bombs(tmp_path, code):
    frugal(plain(tmp_path / "x.pt", b"\x80\x02" + code))


def test_a_pickle_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickling, "OPCODES", 1000)
    refused = "its pickle is far longer than a state dict's"
    assert frugal(plain(tmp_path / "x.pt", b"\x80\x02" + b"}" * 1000 + b".")) == refused
    assert frugal(plain(tmp_path / "x.pt", b"\x80\x02" + b"}" * 900 + b".")) != refused


# Modules of TorchScript archives, whose classes are in the file itself

MODULE = b"c__torch__.x\nM\n)\x81"  # a new one, which BUILD gives its state


WEIGHT = tensor()[len("(dS'w'\n"):-2]


def module(**attributes):
    """The code of a module with these attributes, code each."""
    return MODULE + b"}(" + b"".join(text(name) + code for name, code in attributes.items()) + b"ub"


def test_a_module_is_what_its_state_says(tmp_path):
    code = b"\x80\x02" + module(inner=module(weight=WEIGHT, training=b"\x88"), __class__=module(), steps=b"]K\x01a") + b"."
    found = pytorch.read(archive(tmp_path / "x.pt", code, {"0": ARRAY.tobytes()}, **{"constants.pkl": b")."}))
    assert list(found.tensors) == ["inner.weight"] and np.array_equal(found.tensors["inner.weight"], ARRAY)


@pytest.mark.parametrize("code, expected", [
    (module(), "modules hold no tensors"),
    (MODULE + b"K\x01b", "modules hold no tensors"),
    (b"c__torch__.x\nM\n}" + text("a") + b"K\1sb", "sets attributes of a TorchScript class"),
    (MODULE + b"q\x00}" + text("me") + b"h\x00sb", "modules hold no tensors"),  # a module in itself
    (module(a=b"cos\nsystem\n" + text("touch x") + b"\x85R"), "would call os.system"),
    (b"c__torch__.x\nM\nK\1\x85R", "not a whole PyTorch file")])
def test_modules_that_are_none(tmp_path, code, expected):
    assert expected in refusal(archive(tmp_path / "x.pt", b"\x80\x02" + code + b".", **{"constants.pkl": b")."}))


@pytest.mark.parametrize("twice", [False, True], ids=["deep", "shared"])
def test_many_modules(tmp_path, twice):
    """Each in the next, in two attributes of it too: as many names as modules, or none where they grow too long."""
    code = module(weight=WEIGHT)
    for _ in range(60 if twice else 900):
        code = MODULE + b"}(" + text("a") + code + (b"q\x00" + text("b") + b"h\x00" if twice else b"") + b"ub"
    path = archive(tmp_path / "x.pt", b"\x80\x02" + code + b".", {"0": ARRAY.tobytes()}, **{"constants.pkl": b")."})
    if twice:
        assert len(pytorch.read(path).tensors) == 1
    else:
        assert "so deeply" in refusal(path)


# Archives


def zipped(*members, compression=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as file:
        for name, data in members:
            file.writestr(name, data)
    return content.getvalue()


GOOD = [("archive/data.pkl", tensor()), ("archive/data/0", ARRAY.tobytes())]
ARCHIVES = {
    "compressed": (zipped(*GOOD, compression=zipfile.ZIP_DEFLATED), "'archive/data.pkl' is compressed or encrypted"),
    "a bomb": (zipped(*GOOD, ("archive/data/1", bytes(50_000_000)), compression=zipfile.ZIP_DEFLATED), "is compressed"),
    "a path upwards": (zipped(*GOOD, ("archive/../../x", b"")), "the path 'archive/../../x', which leads out"),
    "an absolute path": (zipped(*GOOD, ("/etc/x", b"")), "the path '/etc/x', which leads out"),
    "a path of Windows": (zipped(*GOOD, ("C:\\x", b"")), "which leads out"),
    "two state dicts": (zipped(*GOOD, ("other/data.pkl", tensor())), "with 2 pickles NAME/data.pkl"),
    "no storage": (zipped(*GOOD[:1]), "tensor w storage '0' is not in the file"),
    "another byte order": (zipped(*GOOD, ("archive/byteorder", b"middle")), "of byte order b'middle'"),
    "metadata": (zipped(*GOOD, ("archive/wvad.json", b"[1]")), "wvad.json in it is not an object of text"),
    "deep metadata": (zipped(*GOOD, ("archive/wvad.json", b"[" * 100_000)), "not a whole"),
    "a wrong checksum": (zipped(*GOOD).replace(ARRAY.tobytes(), ARRAY[::-1].tobytes()), "does not have its checksum"),
}


@pytest.mark.parametrize("content, expected", ARCHIVES.values(), ids=ARCHIVES)
def test_archives(tmp_path, content, expected):
    (tmp_path / "x.pt").write_bytes(content)
    assert expected in frugal(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_twice(tmp_path):
    (tmp_path / "x.pt").write_bytes(zipped(*GOOD, GOOD[1]))
    assert refusal(tmp_path / "x.pt") == "member 'archive/data/0' is twice in the archive"


def test_members_over_each_other(tmp_path):
    """Members that each claim all of the archive that follows them."""
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as file:
        for name, data in [*GOOD, *((f"archive/data/{i}", bytes(1000)) for i in range(1, 500))]:
            file.writestr(name, data)
        for entry in file.filelist[1:]:
            entry.file_size = entry.compress_size = file.fp.tell() - entry.header_offset - 100
            entry.CRC = 0
    assert frugal(tmp_path / "x.pt") == "the members of the archive have more bytes than the file"


# Damage


def damaged(content, random):
    """Bits flipped, bytes cut out, put in, or the rest cut off."""
    content = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at, length = int(random.integers(len(content))), int(random.integers(1, 20))
        match random.integers(5):
            case 0:
                content[at] ^= 1 << random.integers(8)
            case 1:
                content[at] = random.integers(256)
            case 2:
                del content[at:at + length]
            case 3:
                content[at:at] = random.bytes(length)
            case 4:
                del content[at + 1:]
    return bytes(content)


def outcome(path):
    """The contents or None; within little memory, and nothing but InputError is raised."""
    pytorch.recognises(path)
    tracemalloc.start()
    try:
        return pytorch.read(path)
    except wv.InputError as error:
        assert "\n" not in str(error)
        return None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY


def files(tmp_path):
    """Small files of every form, from this library and, where it is there, PyTorch; with what they hold."""
    tensors = {"a.weight": np.arange(12.0).reshape(3, 4), "b": np.array(2), "c": np.array([True, False])}
    pytorch.write(tmp_path / "0.pt", Contents(tensors, {"method": "x"}))
    legacy(tmp_path / "1.pt", tensor(), {"0": ARRAY.tobytes()})
    (tmp_path / "2.pt").write_bytes(pickle.dumps({"model": tensors, "epoch": 3}, 4))
    return [tmp_path / f"{i}.pt" for i in range(3)]


def check_damage(path, count, random, checksums):
    content, expected = path.read_bytes(), pytorch.read(path).tensors
    refused = 0
    for _ in range(count):
        path.write_bytes(damaged(content, random))
        found = outcome(path)
        refused += found is None
        if found and checksums:
            assert {n: a.tobytes() for n, a in found.tensors.items()} == {n: a.tobytes() for n, a in expected.items()}
    assert count / 10 < refused < count


@pytest.mark.parametrize("index", range(3))
def test_damaged_files(tmp_path, index):
    check_damage(files(tmp_path)[index], 300, np.random.default_rng(index), checksums=index == 0)


@pytest.mark.needs("torch")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_damaged_files_of_pytorch(tmp_path, zipped):
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.randn(4, 2)).sum().backward()
    optimizer.step()
    path = tmp_path / "x.pt"
    torch.save({"state_dict": network.state_dict(), "optimizer": optimizer.state_dict(), "auc": np.float64(1)}, path,
               _use_new_zipfile_serialization=zipped)
    check_damage(path, 300, np.random.default_rng(3 + zipped), checksums=zipped)


def test_every_cut(tmp_path):
    for path in files(tmp_path):
        content = path.read_bytes()
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            refusal(path)


# Every opcode with an argument of its kind, and the names that may be called
NAMED = [b"c" + name.replace(".", "\n").encode() + b"\n" for name in (
    "collections.OrderedDict", "torch.FloatStorage", "torch.Size", "numpy.dtype", "numpy.ndarray", "_codecs.encode")]
NAMED += [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n", b"cos\nsystem\n",
          b"ctorch.storage\n_load_from_bytes\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"ios\nsystem\n",
          b"cnumpy.core.numeric\n_frombuffer\n"]
SIMPLE = [o.code.encode("latin-1") for o in pickletools.opcodes if o.arg is None and o.name != "STOP"]
PIECE = st.one_of(
    st.sampled_from(SIMPLE + NAMED), st.binary(max_size=3), st.integers(0, 5).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 5).map(lambda n: b"h" + bytes([n])), st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.text("abe.storage01", max_size=7).map(text), st.binary(max_size=9).map(binary),
    st.sampled_from([tensor()[:-1], b"\x8c\x07storage", b"\x8c\x010", pickle.dumps({"a": ARRAY}, 2)[2:-1]]))


@settings(max_examples=250, deadline=None, database=None, derandomize=True)
@given(code=st.lists(PIECE, max_size=30).map(b"".join))
def test_any_opcodes(tmp_path_factory, code):
    folder = tmp_path_factory.getbasetemp()
    for form in (archive, plain):
        outcome(form(folder / "opcodes.pt", b"\x80\x02" + code + b".", {"0": ARRAY.tobytes()}))


AXES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=3)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(axes=AXES, offset=st.integers(0, 10), count=st.integers(0, 30))
def test_any_strides(tmp_path_factory, axes, offset, count):
    """Right where the tensor lies in its storage, refused where it does not."""
    shape, stride = tuple(n for n, _ in axes), tuple(s for _, s in axes)
    values = np.arange(count, dtype=np.float32)
    found = outcome(archive(tmp_path_factory.getbasetemp() / "strides.pt", tensor(count, offset, shape, stride),
                            {"0": values.tobytes()}))
    places = offset + sum((np.indices(shape)[i] * s for i, s in enumerate(stride)), np.zeros(shape, int))
    if places.size and places.max() >= count:
        assert found is None
    else:
        assert np.array_equal(found.tensors["w"], values[places]) and found.tensors["w"].shape == shape
