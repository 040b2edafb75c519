"""MindSpore's checkpoint files: what is written MindSpore reads, what it writes is read, and nothing else is believed."""
import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents
from wvad_core.checkpoints.formats import mindspore, safetensors
from wvad_core.checkpoints.formats.protobuf import encoded, field, fields, varint, varints

VALUES = np.arange(6).reshape(2, 3)
TENSORS = {kind: VALUES.astype(dtype) for kind, dtype in mindspore.TYPES.items()} | {
    "module.scalar": np.array(7), "vector": np.float32([1.5, -2]), "empty": np.zeros((0, 4), np.float16),
    "transposed": np.asfortranarray(VALUES.astype(np.float32))}
METADATA = {"method": "a", "text": "ü 文"}


def assert_same(found: dict, expected: dict) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
        assert found[name].tobytes() == value.tobytes(), name


@pytest.mark.parametrize("metadata", [METADATA, {}])
def test_round_trip(tmp_path, metadata):
    mindspore.write(tmp_path / "x.ckpt", Contents(TENSORS, metadata))
    found = mindspore.read(tmp_path / "x.ckpt")
    assert_same(found.tensors, TENSORS)
    assert found.metadata == metadata
    assert all(value.flags.writeable and value.flags.aligned for value in found.tensors.values())


def test_a_tensor_in_several_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(mindspore, "SLICE", 7)
    mindspore.write(tmp_path / "x.ckpt", Contents(TENSORS, METADATA))
    assert (tmp_path / "x.ckpt").read_bytes().count(b"Float64") == 2 * 7  # as tag and as type
    found = mindspore.read(tmp_path / "x.ckpt")
    assert_same(found.tensors, TENSORS)
    assert found.metadata == METADATA


def test_a_dtype_that_mindspore_lacks(tmp_path):
    with pytest.raises(wv.InputError, match="x.ckpt: MindSpore has no tensors of type complex64, float8_e5m2$"):
        mindspore.write(tmp_path / "x.ckpt", Contents({"a": np.zeros(2, np.complex64),
                                                       "b": np.zeros(2, ml_dtypes.float8_e5m2)}, {}))
    assert not list(tmp_path.iterdir())


def test_wire_format():
    for number in (0, 1, 127, 128, 300, 2**32, 2**63, 2**64 - 1):
        assert varint(memoryview(encoded(number) + b"\x01"), 0) == (number, len(encoded(number)))
    assert varints(memoryview(encoded(300) + encoded(2))) == [300, 2]
    message = field(1, 5) + field(2, b"ab") + b"\x19" + bytes(8) + b"\x25" + bytes(4)  # the last two of fixed sizes
    assert [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(memoryview(message))] == [
        (1, 5), (2, b"ab"), (3, bytes(8)), (4, bytes(4))]


# by hand, as the schema has it


def tensor(dims=(2,), kind="Float32", content=bytes(8)) -> bytes:
    return b"".join(field(1, size) for size in dims) + field(2, kind.encode()) + field(3, content)


def value(tag="a.b", inner=None, number=2) -> bytes:
    return field(1, field(1, tag.encode()) + field(number, tensor() if inner is None else inner))


def test_what_the_schema_allows(tmp_path):
    packed = field(1, encoded(1) + encoded(2)) + field(2, b"Float32") + field(3, bytes(8))
    content = value("a.b", packed) + value("c.d", tensor((0,), "Int64", bytes(8)))
    content += value("text", tensor((0,), "str", b""))
    (tmp_path / "x.ckpt").write_bytes(content + b"crc_num" + zlib.crc32(content).to_bytes(10, "big"))
    found = mindspore.read(tmp_path / "x.ckpt").tensors
    assert_same(found, {"a.b": np.zeros((1, 2), np.float32), "c.d": np.array(0)})


WHOLE = value()
REFUSED = {
    "empty file": (b"", "it is empty"),
    "cut short": (WHOLE[:-1], r"a field of \d+ bytes where \d+ are left"),
    "cut in a number": (WHOLE + b"\n\xff", "a number at byte .* that does not end"),
    "absurd length": (b"\n" + encoded(2**62) + WHOLE, f"a field of {2**62} bytes where"),
    "endless number": (b"\n" + b"\xff" * 20, "a number at byte 1 that does not end"),
    "other wire type": (b"\x0b" + WHOLE, "wire type 3"),
    "other field": (WHOLE + field(2, b"x"), "a field of number 2"),
    "number for a value": (field(1, 3), "a number in place of bytes"),
    "no tensor": (field(1, field(1, b"a")), "a value without tag or tensor"),
    "no tag": (field(1, field(2, tensor())), "a value without tag or tensor"),
    "no type": (value(inner=field(1, 2) + field(3, bytes(8))), "a tensor without type or content"),
    "map": (value(number=3), "a map parameter"),
    "too short": (value(inner=tensor((3,))), r"a.b has 8 bytes, expected 12 for Float32 \(3,\)"),
    "too long": (value(inner=tensor((1,))), "a.b has 8 bytes, expected 4"),
    "absurd dims": (value(inner=tensor((2**40, 2**40))), "a.b has 8 bytes, expected"),
    "negative dims": (value(inner=tensor((2**64 - 1, 2**64 - 2))), "a.b has 8 bytes, expected"),
    "absurd dims of nothing": (value(inner=tensor((0, 2**62), content=b"")), "not a whole MindSpore checkpoint"),
    "many dims": (value(inner=tensor((1,) * 40, content=bytes(4))), "a tensor of more than 32 axes"),
    "unknown type": (value(inner=tensor(kind="Int4")), "a.b is of type 'Int4', expected one of Bool"),
    "name that is no text": (field(1, field(1, b"\xff") + field(2, tensor())), "can't decode"),
    "twice": (WHOLE + value("c") + WHOLE, "a.b is there twice"),
    "pieces that disagree": (WHOLE + value(inner=tensor((1, 2))), "a.b is there twice"),
    "checksum": (WHOLE + b"crc_num" + bytes(10), "CRC-32"),
    "metadata that is a tensor": (value("wvad"), "the value wvad, which holds the metadata, is not an object"),
    "metadata that is no JSON": (value("wvad", tensor((0,), "str", "{".encode("utf-32-le"))), "the value wvad"),
    "metadata of numbers": (value("wvad", tensor((0,), "str", '{"a": 1}'.encode("utf-32-le"))), "the value wvad"),
}


@pytest.mark.parametrize("content, message", REFUSED.values(), ids=[name.replace(" ", "-") for name in REFUSED])
def test_what_is_refused(tmp_path, content, message):
    (tmp_path / "x.ckpt").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(wv.InputError, match=f"x.ckpt: .*{message}"):
        mindspore.read(tmp_path / "x.ckpt")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_recognised_by_content(tmp_path):
    (tmp_path / "x.bin").write_bytes(WHOLE)
    assert mindspore.recognises(tmp_path / "x.bin") and formats.recognise(tmp_path / "x.bin") is mindspore
    for other in (b"", b"\n", b"\n\xff", b"PK\3\4", b"\n\x04abcd"):
        (tmp_path / "x.bin").write_bytes(other)
        assert not mindspore.recognises(tmp_path / "x.bin")


@pytest.mark.needs("mindspore")
def test_mindspore_reads_what_is_written(tmp_path, monkeypatch):
    import mindspore as ms

    monkeypatch.setattr(mindspore, "SLICE", 5)
    mindspore.write(tmp_path / "x.ckpt", Contents({n: v for n, v in TENSORS.items() if n != "empty"}, METADATA))
    content = (tmp_path / "x.ckpt").read_bytes()
    (tmp_path / "y.ckpt").write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    with pytest.raises(ValueError) as raised:
        ms.load_checkpoint(str(tmp_path / "y.ckpt"), crc_check=True)
    assert "the crc check is failed" in str(raised.value.__cause__)
    found = ms.load_checkpoint(str(tmp_path / "x.ckpt"), crc_check=True)
    assert isinstance(found.pop("wvad"), str)
    for name, parameter in found.items():
        same = np.asarray(parameter.asnumpy())
        assert (same.shape, same.tobytes()) == (TENSORS[name].shape, TENSORS[name].tobytes())
        assert str(parameter.dtype).lower() == TENSORS[name].dtype.name


@pytest.mark.needs("mindspore")
@pytest.mark.parametrize("check", [False, True])
def test_what_mindspore_writes_is_read(tmp_path, check):
    import mindspore as ms

    types = {name: getattr(ms, name.lower() if name != "Bool" else "bool_") for name in mindspore.TYPES}
    values = [{"name": f"a.{name}", "data": ms.Tensor(VALUES, kind)} for name, kind in types.items()]
    ms.save_checkpoint(values, str(tmp_path / "x.ckpt"), append_dict={"epoch": 3, "note": "abc", "rate": 0.1},
                       crc_check=check)
    assert_same(mindspore.read(tmp_path / "x.ckpt").tensors, {f"a.{name}": TENSORS[name] for name in types})
    ms.save_checkpoint(values, str(tmp_path / "x.safetensors"), format="safetensors")
    found = safetensors.read(tmp_path / "x.safetensors").tensors
    assert_same({f"a.{name}": found[f"a.{name}"] for name in types}, {f"a.{name}": TENSORS[name] for name in types})


@pytest.mark.needs("mindspore")
def test_an_optimiser_beside_the_weights(tmp_path):
    import mindspore as ms

    net = ms.nn.SequentialCell(ms.nn.Dense(3, 2))
    optimiser = ms.nn.Adam(net.trainable_params())
    ms.save_checkpoint([{"name": p.name, "data": p} for p in optimiser.get_parameters()], str(tmp_path / "x.ckpt"))
    written = ms.load_checkpoint(str(tmp_path / "x.ckpt"))
    assert {"moment1.0.weight", "moment2.0.bias", "global_step"} <= set(written)
    found = mindspore.read(tmp_path / "x.ckpt").tensors
    assert set(found) == {"0.weight", "0.bias"}
    assert np.array_equal(found["0.weight"], net[0].weight.asnumpy())
