"""Checkpoint files of all formats: how they are told apart, what goes round, and what damaged ones lead to."""
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents, checksum, describe, description, digest
from wvad_core.checkpoints.formats import mindspore, safetensors
from wvad_core.checkpoints.identification.recognition import identify

FORMATS = formats.formats()
SUFFIXES = [(kind, suffix) for kind in FORMATS for suffix in kind.SUFFIXES]
VALUES = np.arange(6).reshape(2, 3)
TENSORS = {f"a.{np.dtype(d)}": VALUES.astype(d) for d in
           (np.float64, np.float32, np.float16, bfloat16, np.int64, np.int32, np.int8, np.uint8, np.bool_)} | {
    "scalar": np.array(3), "transposed": np.asfortranarray(VALUES)}
CONFIG = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2)}


@pytest.fixture(scope="module")
def own() -> Contents:
    """A checkpoint of this library."""
    made = wv.create("saa", **CONFIG)
    return describe(made.weights(), made.method, made.config.as_dict())


def test_formats_are_found():
    assert [kind.NAME for kind in FORMATS] == ["MindSpore", "PyTorch", "safetensors"]
    assert len({suffix for _, suffix in SUFFIXES}) == len(SUFFIXES)
    for kind, suffix in SUFFIXES:
        assert formats.by_suffix(Path(f"x{suffix.upper()}")) is kind


@pytest.mark.parametrize("kind, suffix", SUFFIXES)
def test_round_trip(tmp_path, kind, suffix):
    kind.write(tmp_path / f"x{suffix}", Contents(TENSORS, {"method": "ü"}))
    (tmp_path / f"x{suffix}").rename(tmp_path / "x.safetensors")  # the content counts, not the suffix
    found_kind, found = formats.read(tmp_path / "x.safetensors")
    assert found_kind is kind
    assert sorted(found.tensors) == sorted(TENSORS) and found.metadata == {"method": "ü"}
    for name, value in TENSORS.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (value.dtype, value.shape)
        assert found.tensors[name].tobytes() == value.tobytes()
    assert digest(found.tensors) == digest(TENSORS)


@pytest.mark.parametrize("kind, suffix", SUFFIXES)
def test_a_detector_from_any_format(tmp_path, own, kind, suffix):
    for name, metadata in (("own", own.metadata), ("bare", {})):
        kind.write(tmp_path / f"{name}{suffix}", Contents(own.tensors, metadata))
        loaded = wv.load(tmp_path / f"{name}{suffix}")
        assert (loaded.method, loaded.config.attention_dim) == ("saa", 4)
        assert digest(loaded.weights()) == digest(own.tensors)


@pytest.mark.parametrize("kind, suffix", SUFFIXES)
def test_a_detector_is_saved_in_the_format_of_the_suffix(tmp_path, kind, suffix):
    made = wv.create("saa", **CONFIG)
    made.save(tmp_path / f"x{suffix}")
    (other,) = [k for k in FORMATS if k.recognises(tmp_path / f"x{suffix}")]
    loaded = wv.load(tmp_path / f"x{suffix}")
    assert other is kind and loaded.config == made.config and digest(loaded.weights()) == digest(made.weights())


@pytest.mark.parametrize("name", ["w.foo", "w", "w.npz", "w.pt.bak"])
def test_a_detector_is_not_saved_under_an_unknown_suffix(tmp_path, name):
    made = wv.create("saa", **CONFIG)
    with pytest.raises(wv.InputError, match=r"no format has the suffix '.*', expected \.ckpt") as raised:
        made.save(tmp_path / "folder" / name)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_what_is_no_checkpoint(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    (tmp_path / "x.ckpt").write_text("hello")
    for path, message in ((tmp_path / "x.txt", "x.txt: neither its content nor its name is that of a checkpoint"),
                          (tmp_path / "x.ckpt", "x.ckpt: not a whole MindSpore checkpoint"),
                          (tmp_path / "none.ckpt", "none.ckpt: no such checkpoint file"),
                          (tmp_path, "no such checkpoint file")):
        with pytest.raises(wv.InputError, match=message):
            formats.read(path)
    with pytest.raises(wv.InputError, match=r"x.txt: no format has the suffix '.txt', expected .ckpt \(MindSpore\), .pt"):
        formats.by_suffix(tmp_path / "x.txt")


def header(content: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return (len(content) if length is None else length).to_bytes(8, "little") + content + data


def one_entry(dtype: str, shape: list, offsets: list, size: int = 0) -> bytes:
    return header(json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).encode(), data=bytes(size))


@pytest.mark.parametrize("content", [
    header(b"{}", 2**63), header(b"{}", 10**9), header(b"{"), header(b"{" * 100_000), header(b'{"\xff": 1}'),
    header(b"{}")[:9], one_entry("F32", [2], [0, 4], 4), one_entry("F32", [2**40], [0, 2**42]),
    one_entry("F32", [0, 2**62], [0, 0]), one_entry("F32", [1] * 70, [0, 4], 4), one_entry("F32", [1], [4, 8], 8),
    one_entry("X9", [1], [0, 4], 4), one_entry("F8_E5M2", [4], [0, 4], 4)])
def test_safetensors_that_are_refused(tmp_path, content):
    (tmp_path / "x.safetensors").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(wv.InputError, match="x.safetensors: (not a whole safetensors file|holds tensors of a type)"):
        formats.read(tmp_path / "x.safetensors")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_dtype_that_safetensors_lack(tmp_path):
    with pytest.raises(wv.InputError, match="x.safetensors: cannot be written"):
        safetensors.write(tmp_path / "x.safetensors", Contents({"a": np.zeros(2, np.complex128)}, {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change, message", [
    ({"sha256": None}, "its metadata has method, config, version, as this library's checkpoints have, but no sha256"),
    ({"sha256": "0"}, "do not have the hash in the metadata, the file has been altered"),
    ({"format_version": "3"}, "of version 3 of the format of checkpoints, expected 1 or 2; a later version of this library"),
    ({"config": "{"}, "the configuration in the metadata is not JSON"),
    ({"config": "[1]"}, "the configuration in the metadata is list, expected an object"),
    ({"config": "9" * 5000}, "the configuration in the metadata is")])
def test_metadata_that_are_not_whole(own, change, message):
    metadata = {key: value for key, value in (own.metadata | change).items() if value is not None}
    if "sha256" not in change:
        metadata["sha256"] = checksum(own.tensors, metadata)
    with pytest.raises(wv.InputError, match=f"x.pt: .*{message}"):
        description(Contents(own.tensors, metadata), "x.pt")


def test_other_metadata_are_nobodys_description(own):
    assert description(Contents(own.tensors, {"format": "ms", "version": "3"}), "x") is None
    assert description(own, "x") == ("saa", json.loads(own.metadata["config"]))


def test_the_core_alone(tmp_path, own):
    """In a process where neither framework can be imported."""
    for kind in FORMATS:
        kind.write(tmp_path / f"x{kind.SUFFIXES[0]}", own)
    code = ("import sys; sys.modules['torch'] = sys.modules['mindspore'] = None; import wvad_core as wv\n"
            "for path in sys.argv[1:]: print(wv.load(path).method)")
    done = subprocess.run([sys.executable, "-c", code, *sorted(tmp_path.iterdir())], capture_output=True, text=True)
    assert done.stdout.split() == ["saa"] * len(FORMATS), done.stderr


# damaged files: a right answer, or one line


def check(path: Path, content: bytes, expected: str) -> bool:
    """Whether a file of this content is a checkpoint; if it is, and says what it is, with the tensors that were written."""
    path.write_bytes(content)
    try:
        _, contents = formats.read(path)
        found = identify(contents, str(path))
    except wv.InputError as error:
        assert str(error).startswith(str(path))
        return False
    assert not found.described or digest(found.weights) == expected
    return True


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three bytes flipped, some cut out, or some put in; as often at the start or the end as anywhere."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.choice([rng.integers(len(content)), rng.integers(min(200, len(content))),
                             len(content) - rng.integers(1, min(200, len(content)))]))
        kind = rng.integers(3)
        count = int(rng.integers(1, 30))
        if kind == 0:
            content = content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1:]
        elif kind == 1:
            content = content[:at] + (content[at + count:] if rng.integers(2) else b"")
        else:
            content = content[:at] + rng.bytes(count) + content[at:]
        content = content if len(content) > 1 else b"{\n"
    return content


@pytest.mark.parametrize("kind", [safetensors, mindspore], ids=lambda kind: kind.NAME)
def test_damaged_files(tmp_path, own, kind):
    path, rng = tmp_path / f"x{kind.SUFFIXES[0]}", np.random.default_rng(0)
    kind.write(path, own)
    content = path.read_bytes()
    assert check(path, content, digest(own.tensors))
    right = sum(check(path, damaged(content, rng), digest(own.tensors)) for _ in range(500))
    assert right < 100


@pytest.mark.parametrize("kind, start", [(safetensors, b""), *((mindspore, mindspore.VALUE * count) for count in range(3))])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes(tmp_path, kind, start, data):
    if kind is safetensors:
        entry = st.fixed_dictionaries({"dtype": st.sampled_from(["F32", "BF16", "I64", "BOOL", "U4"]) | st.text(max_size=3),
                                       "shape": st.lists(st.integers(-1, 2**65) | st.integers(0, 4), max_size=4),
                                       "data_offsets": st.lists(st.integers(-1, 40), max_size=3)})
        text = json.dumps(data.draw(st.dictionaries(st.text(max_size=3), entry, max_size=3))).encode()
        content = header(text, data.draw(st.none() | st.integers(0, 2**64 - 1)), data.draw(st.binary(max_size=40)))
    else:
        content = start + data.draw(st.binary(max_size=60))
    check(tmp_path / f"x{kind.SUFFIXES[0]}", content, "")


def test_a_detector_is_a_key_and_equal_to_itself_alone():
    """As MindSpore's compiler and users' caches need it: what it holds need not be hashable."""
    one, other = (wv.create("ar-net", feature_dim=8) for _ in range(2))
    assert {one: 1, other: 2} == {one: 1, other: 2} and one != other and hash(one) == hash(one)
