"""PyTorch's files read and written without PyTorch; PyTorch itself says what is right."""
import argparse
import pickle
import re
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
from ml_dtypes import bfloat16

import wvad_core as wv
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.formats import pytorch

DTYPES = [np.float64, np.float32, np.float16, bfloat16, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]
FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
NEEDS_TORCH = pytest.mark.needs("torch")


def every_dtype():
    values = np.random.default_rng(0).normal(size=(3, 4)) * 9
    tensors = {np.dtype(dtype).name: values.astype(dtype) for dtype in DTYPES}
    return tensors | {"scalar": np.array(3.5, np.float32), "empty": np.zeros((0, 3), np.float32), "ünï": np.ones(2)}


def same(found, expected):
    """The same names, in order, of the same dtypes, shapes and bytes."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name
        assert found[name].flags.c_contiguous and found[name].flags.writeable, name


def to_numpy(tensor):
    """A PyTorch tensor's values; bfloat16, which it does not give to NumPy, by its bits."""
    import torch

    tensor = tensor.detach().cpu().contiguous()
    return tensor.view(torch.int16).numpy().view(bfloat16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def torch_file(path, content, zipped=True):
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def rewritten(path, change):
    """The zip archive again with `change` of its pickle, or for the older form with a change of the whole file."""
    if not zipfile.is_zipfile(path):
        path.write_bytes(change(path.read_bytes()))
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith("data.pkl") else content)
    return path


def refusal(path):
    with pytest.raises(wv.InputError) as error:
        pytorch.read(path)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message.removeprefix(f"{path}: ")


# What PyTorch writes


@NEEDS_TORCH
@FORMS
def test_every_dtype_of_pytorch(tmp_path, zipped):
    import torch

    tensors = {name: torch.randn(3, 4).mul(9).to(getattr(torch, name)) for name in
               ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")}
    tensors |= {"scalar": torch.tensor(2.5), "count": torch.tensor(7), "empty": torch.zeros(0, 3)}
    path = torch_file(tmp_path / "x.pth", tensors, zipped)
    assert pytorch.recognises(path)
    same(pytorch.read(path).tensors, {name: to_numpy(tensor) for name, tensor in tensors.items()})
    assert pytorch.read(path).metadata == {}


@NEEDS_TORCH
@FORMS
def test_strides_offsets_and_shared_storages(tmp_path, zipped):
    import torch

    base = torch.randn(6, 8)
    tensors = {"base": base, "transposed": base.T, "rows": base[2:4], "columns": base[:, 1::3], "flipped": base.flip(0),
               "same": base, "element": base[3, 4], "expanded": torch.randn(5, 1).expand(5, 7), "none": base[:0],
               "permuted": torch.randn(2, 3, 4).permute(2, 0, 1), "wide": torch.randn(2, 3, 4, 5).to(
                   memory_format=torch.channels_last), "parameter": torch.nn.Parameter(base[0])}
    path = torch_file(tmp_path / "x.pt", tensors, zipped)
    found = pytorch.read(path).tensors
    same(found, {name: to_numpy(tensor) for name, tensor in tensors.items()})
    assert np.shares_memory(found["base"], found["same"])


@NEEDS_TORCH
@FORMS
def test_a_network(tmp_path, zipped):
    import torch

    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 4))
    network[2].weight = network[0].weight
    state = network.state_dict()
    assert hasattr(state, "_metadata")
    same(pytorch.read(torch_file(tmp_path / "x.pth", state, zipped)).tensors,
         {name: to_numpy(tensor) for name, tensor in state.items()})


@NEEDS_TORCH
@FORMS
def test_a_training_run(tmp_path, zipped):
    """Weights beside what training scripts save: only the weights are taken, and only they are read."""
    import torch

    network = torch.nn.DataParallel(torch.nn.Linear(3, 2))
    optimizer = torch.optim.Adam(network.parameters())
    network.module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    path = torch_file(tmp_path / "x.pkl", {
        "epoch": 3, "model": network.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=0.1, device=torch.device("cuda:0"), layers=[1, (2, {3})]), "best": torch.tensor(0.9),
        "auc": np.float64(0.5), "history": defaultdict(list, a=[1.5]), "seen": Counter("abc"), "size": torch.Size([1, 2]),
        "dtype": torch.float16, "raw": b"\0\1", "sparse": torch.eye(3).to_sparse(), "complex": torch.ones(2) * 1j}, zipped)
    same(pytorch.read(path).tensors, {name: to_numpy(t) for name, t in network.module.state_dict().items()})


@NEEDS_TORCH
@FORMS
def test_tensors_on_other_devices(tmp_path, zipped):
    import torch

    tensors = {"a": torch.randn(3), "b": torch.randn(2, 2)}
    path = rewritten(torch_file(tmp_path / "x.pt", tensors, zipped),
                     lambda code: code.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0").replace(b"ctorch\nF", b"ctorch.cuda\nF"))
    assert b"cuda:0" in path.read_bytes() and b"torch.cuda\n" in path.read_bytes()
    same(pytorch.read(path).tensors, {name: to_numpy(tensor) for name, tensor in tensors.items()})


@NEEDS_TORCH
@FORMS
def test_tensors_with_attributes_and_untyped_storages(tmp_path, zipped):
    import torch

    tagged, parameter, short = torch.randn(3), torch.nn.Parameter(torch.randn(2)), torch.ones(3, dtype=torch.uint16)
    tagged.tag, parameter.tag = "x", "y"
    tensors = {"tagged": tagged, "parameter": parameter, "short": short, "bytes": torch.ones(4).untyped_storage()}
    found = pytorch.read(torch_file(tmp_path / "x.pt", tensors, zipped)).tensors
    same(found, {name: to_numpy(tensors[name]) for name in ("tagged", "parameter", "short")})


@NEEDS_TORCH
@pytest.mark.parametrize("protocol", range(2, 6))
def test_a_plain_pickle_of_tensors(tmp_path, protocol):
    import torch

    tensors = OrderedDict(a=torch.randn(3, 4).T, b=torch.tensor(2), c=torch.randn(2).bfloat16())
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(tensors, protocol))
    assert pytorch.recognises(path)
    same(pytorch.read(path).tensors, {name: to_numpy(tensor) for name, tensor in tensors.items()})


@NEEDS_TORCH
@pytest.mark.parametrize("protocol", range(2, 6))
def test_protocols(tmp_path, protocol):
    import torch

    for zipped in (True, False):
        torch.save({"a": torch.arange(3)}, tmp_path / "x.pt", pickle_protocol=protocol,
                   _use_new_zipfile_serialization=zipped)
        same(pytorch.read(tmp_path / "x.pt").tensors, {"a": np.arange(3)})


@NEEDS_TORCH
def test_without_checksums(tmp_path):
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        path = torch_file(tmp_path / "x.pt", {"a": torch.arange(3)})
    finally:
        torch.serialization.set_crc32_options(True)
    same(pytorch.read(path).tensors, {"a": np.arange(3)})


@NEEDS_TORCH
@FORMS
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation")
def test_tensors_that_are_not_read(tmp_path, zipped):
    import torch

    quantised = torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8)
    for tensor, what in {torch.ones(2) * 1j: "of dtype complex64", quantised: "a quantised tensor",
                         torch.eye(2).to_sparse(): "a sparse tensor",
                         torch.ones(2).to(torch.float8_e5m2): "of dtype float8_e5m2",
                         torch.empty(2, device="meta"): "a tensor without values (device meta)",
                         (torch.ones(2) * 1j).conj().imag: "a tensor with a conjugate or negative bit"}.items():
        path = torch_file(tmp_path / "x.pt", {"a": torch.ones(1), "w": tensor}, zipped)
        assert refusal(path) == f"tensor w is {what}, expected a dense tensor of real numbers"


@NEEDS_TORCH
@FORMS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source")
def test_a_whole_model(tmp_path, monkeypatch, zipped):
    import torch

    monkeypatch.setitem(globals(), "Network", type("Network", (torch.nn.Module,), {"__module__": __name__}))
    for network in (torch.nn.Linear(2, 2), Network()):  # noqa: F821
        message = refusal(torch_file(tmp_path / "x.pt", network, zipped))
        assert message.startswith("holds a whole model") and message.endswith("torch.save(model.state_dict(), ...)")
        assert type(network).__qualname__ in message


@NEEDS_TORCH
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("scripted", [False, True], ids=["traced", "scripted"])
def test_torchscript(tmp_path, scripted):
    """The state dict of the module that was saved, though not a line of the archive's code is run."""
    import torch

    class Inner(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.randn(3))
            self.register_buffer("length", torch.tensor(77))
            self.layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
            self.steps = [1, 2]
            self.training = False

        def forward(self, x):
            return self.layers(x) * self.scale

    network = torch.nn.Sequential(Inner(), torch.nn.ReLU(), torch.nn.Linear(3, 3)).half().eval()
    made = torch.jit.script(network) if scripted else torch.jit.trace(network.float(), torch.ones(1, 2)).half()
    torch.jit.save(made, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert any("/code/" in name for name in archive.namelist())
    expected = {name: to_numpy(value) for name, value in network.half().state_dict().items()}
    found = pytorch.read(tmp_path / "x.pt").tensors
    same(dict(sorted(found.items())), dict(sorted(expected.items())))
    assert expected["0.scale"].dtype == np.float16


# What is written


@NEEDS_TORCH
def test_pytorch_opens_what_is_written(tmp_path):
    import torch

    tensors, path = every_dtype(), tmp_path / "x.pth"
    pytorch.write(path, Contents(tensors, {"method": "x"}))
    for mapped in (False, True):
        found = torch.load(path, weights_only=True, mmap=mapped)
        assert type(found) is OrderedDict and list(found) == list(tensors)
        for name, array in tensors.items():
            assert str(found[name].dtype) == f"torch.{array.dtype.name}"
            value = to_numpy(found[name])
            assert (value.dtype, value.shape, value.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_round_trip(tmp_path):
    contents = Contents(every_dtype(), {"method": "bn-wvad", "config": '{"k": "ä"}'})
    pytorch.write(tmp_path / "x.pt", contents)
    assert pytorch.recognises(tmp_path / "x.pt")
    found = pytorch.read(tmp_path / "x.pt")
    same(found.tensors, contents.tensors)
    assert found.metadata == contents.metadata


def test_same_bytes_and_aligned(tmp_path):
    for name, order in (("a.pt", 1), ("b.pth", -1)):
        pytorch.write(tmp_path / name, Contents(every_dtype(), dict([("a", "1"), ("b", "2")][::order])))
    content = (tmp_path / "a.pt").read_bytes()
    assert content == (tmp_path / "b.pth").read_bytes()
    array = every_dtype()["float64"]
    assert content.index(array.tobytes()) % 64 == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "b.pth"]


def test_arrays_of_any_order(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4)
    pytorch.write(tmp_path / "x.pt", Contents({"t": array.T, "s": array[:, ::2, 1:3]}, {}))
    same(pytorch.read(tmp_path / "x.pt").tensors, {"t": array.T.copy(), "s": array[:, ::2, 1:3].copy()})


def test_a_dtype_that_cannot_be_written(tmp_path):
    with pytest.raises(wv.InputError, match="x.pt: PyTorch has no storages of type complex128$"):
        pytorch.write(tmp_path / "x.pt", Contents({"a": np.ones(2) * 1j}, {}))
    assert not list(tmp_path.iterdir())


def test_the_other_byte_order(tmp_path):
    path, array = tmp_path / "x.pt", np.arange(5.0)
    pytorch.write(path, Contents({"a": array.byteswap()}, {}))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"archive/byteorder": b"big"}).items():
            archive.writestr(name, content)
    same(pytorch.read(path).tensors, {"a": array})


# Plain pickles of NumPy arrays, and which dict is the state dict


@pytest.mark.parametrize("protocol", range(6))
def test_a_plain_pickle_of_arrays(tmp_path, protocol):
    arrays = {name: array for name, array in every_dtype().items() if array.dtype != bfloat16}
    fortran, big = np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(3, dtype=">f4")
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(arrays | {"fortran": fortran, "big": big, "number": np.float32(1)}, protocol))
    assert pytorch.recognises(path)
    same(pytorch.read(path).tensors, arrays | {"fortran": fortran.copy("C"), "big": big.astype("=f4")})


A, B, C, M = (np.full(2, float(i)) for i in range(4))
STATE = {"a": A, "b": B}
WRAPPED = {
    "bare": STATE,
    "beside other things": STATE | {"epoch": 3, "args": {"lr": 0.1}},
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model": {"model": STATE, "optimizer": {"state": {"x": {"m": M, "v": M, "s": M}}}, "lr_scheduler": {"m": M}},
    "deep": {"checkpoint": {"run": {"net": STATE}}},
    "other key": {"anything": STATE, "epoch": 3},
    "params beside a number": {"params": STATE, "best": M},
    "more tensors": {"netG": STATE, "netD": {"m": M}},
    "unlikely key": {"model_state_dict": STATE, "statistics": {"mean": M, "std": M, "n": M}},
    "ema beside": {"model": STATE, "model_ema": {"a": M, "b": M, "c": M}},
    "ema alone": {"model_ema": STATE},
    "one dict under two keys": {"model": STATE, "state_dict": STATE},
    "DataParallel": {"module.a": A, "module.b": B},
    "compiled": {"state_dict": {"module._orig_mod.a": A, "module._orig_mod.b": B}},
}


def pickled(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_wrapped(tmp_path, content):
    same(pytorch.read(pickled(tmp_path, content)).tensors, STATE)


def test_a_prefix_that_some_names_have(tmp_path):
    content = {"module.a": A, "b": B}
    same(pytorch.read(pickled(tmp_path, content)).tensors, content)


@pytest.mark.parametrize("content, expected", [
    ({"model": STATE, "net": STATE.copy()}, r"holds 2 dicts .*: model \(2 tensors\), net \(2 tensors\)"),
    ({"encoder": STATE, "best": M}, r"holds 2 dicts .*: the top \(1 tensors\), encoder \(2 tensors\)"),
    ({"optimizer": STATE, "epoch": 1}, "holds no state dict: .*"),
    ({"a": {"b": {"c": {"d": STATE}}}}, "holds no state dict: .*"),
    ({0: A, 1: B}, "holds no state dict: .*"), ({}, "holds no state dict: .*"),
    ([A, B], "holds no dict but a list, .*"), (A, "holds no dict but one tensor without a name, .*"),
    ("text", "holds no dict but a str, .*"), (None, "holds no dict but something else, .*"),
    ({"a\nb": A}, r"a tensor has the name 'a\\nb', .*"), ({"a" * 501: A}, "a tensor has the name 'aaa.*"),
    ({"a": np.array([None])}, "tensor a is a NumPy array of objects .*"),
    ({"a": np.array(["x"])}, "tensor a is a NumPy array of objects or of unusual dtype.*"),
    ({"a": np.zeros(2, [("x", int)])}, "tensor a is a NumPy array .*")])
def test_no_state_dict(tmp_path, content, expected):
    assert re.fullmatch(expected, found := refusal(pickled(tmp_path, content))), found


# Which files are PyTorch's


@pytest.mark.parametrize("content", [b"", b"\x80", b"hello", b"\x93NUMPY\1\0", b"\x80\2\0\0\0\0\0\0{\"a\":{", bytes(600),
                                     b"PK\3\4", b"PK\3\4" + bytes(600), b"\n\x05\n\1a", b"\x89HDF"])
def test_other_files(tmp_path, content):
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    assert pytorch.recognises(path) is False
    refusal(path)


def test_another_zip_and_no_file(tmp_path):
    np.savez(tmp_path / "x.npz", a=A)
    assert not pytorch.recognises(tmp_path / "x.npz")
    assert refusal(tmp_path / "x.npz").startswith("a zip archive with 0 pickles")
    assert not pytorch.recognises(tmp_path / "none")
    assert refusal(tmp_path / "none") == refusal(tmp_path) == "no such checkpoint file"


def test_a_tar(tmp_path):
    (tmp_path / "x.pt").write_bytes(bytes(257) + b"ustar" + bytes(300))
    assert refusal(tmp_path / "x.pt").startswith("in the tar format")


def test_no_framework(tmp_path):
    """In a process where PyTorch and MindSpore cannot be imported."""
    pytorch.write(tmp_path / "x.pt", Contents(STATE, {}))
    code = ("import sys; sys.modules['torch'] = sys.modules['mindspore'] = None; from pathlib import Path\n"
            "from wvad_core.checkpoints.formats import pytorch\nprint(*pytorch.read(Path(sys.argv[1])).tensors)")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.pt"], capture_output=True, text=True)
    assert done.stdout == "a b\n", done.stderr
