"""What the hash of a checkpoint covers: all of it in version 2 of the format, the tensors alone in version 1."""
import warnings
from pathlib import Path

import numpy as np
import pytest

import wvad_core as wv
from wvad_core.checkpoints import formats
from wvad_core.checkpoints.contents import Contents, checksum, describe, description, digest
from wvad_core.checkpoints.identification.recognition import identify
from wvad_core.cli import inspect, process
from wvad_core.data import demo

VERSION_1 = Path(__file__).with_name("version_1.safetensors")
"""Of saa, seed 3, as CONFIG; written before there was version 2."""
CONFIG = {"feature_dim": 16, "attention_dim": 4, "hidden_dims": (4, 2), "leaky_slope": 0.1}
TENSORS = {"b.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array(7)}


def own(method: str = "saa", config: dict = CONFIG) -> Contents:
    """Few tensors under the description of a detector; their names and shapes are nobody's matter here."""
    return describe(TENSORS, method, config)


# version 1


def test_version_1_is_read_with_a_note(tmp_path, capsys):
    with pytest.warns(wv.AssumedWarning) as caught:
        loaded = wv.load(VERSION_1)
    (warning,) = caught
    assert str(warning.message) == (f"{VERSION_1}: scores depend on leaky_slope, which its hash does not cover, as in "
                                    "version 1 of the format; `wvad convert` writes it anew")
    assert warning.filename == __file__
    made = wv.create("saa", seed=3, **CONFIG)
    assert loaded.config == made.config and digest(loaded.weights()) == digest(made.weights())
    assert loaded.assumed.unverified == ("leaky_slope",) and not loaded.assumed.scored
    inspect.check(VERSION_1, None, {})
    assert "note        scores depend on leaky_slope, which its hash does not cover, as in" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not wv.load(VERSION_1, leaky_slope=0.1).assumed
        for suffix in (".safetensors", ".pt", ".ckpt"):  # what is written of it is of version 2
            loaded.save(tmp_path / f"x{suffix}")
            again = wv.load(tmp_path / f"x{suffix}")
            assert not again.assumed and again.config == loaded.config


def test_version_1_is_noted_once_by_commands(capsys, tmp_path):
    def main(_):
        wv.load(VERSION_1)

    with pytest.raises(SystemExit) as end:
        process.run(main, [])
    assert end.value.code == 0 and capsys.readouterr().err.count("note: ") == 1


def test_version_1_without_settings_that_could_change_a_score():
    """Where tensors show all that scores depend on, there is nothing to note."""
    made = wv.create("rtfm", feature_dim=8, hidden_dims=(4, 2))
    metadata = {"method": "rtfm", "config": describe({}, "rtfm", made.config.as_dict()).metadata["config"], "version": "0.1.0",
                "sha256": digest(made.weights())}
    assert not identify(Contents(made.weights(), metadata), "x").assumed


def test_version_1_holds_its_tensors():
    _, contents = formats.read(VERSION_1)
    contents.tensors["attention.conv1.bias"][1] += 1
    with pytest.raises(wv.InputError, match="^x: the tensors do not have the hash in the metadata, the file has been altered$"):
        description(contents, "x")


@pytest.mark.parametrize("method", wv.list_methods())
def test_bundled_checkpoints_are_of_version_2(method):
    _, contents = formats.read(demo.demo_checkpoint(method))
    assert contents.metadata["format_version"] == "2" and description(contents, "x") is not None


# version 2


@pytest.mark.parametrize("key", [*own().metadata, "assumed", "origin"])
def test_every_entry_of_the_metadata_is_covered(key):
    metadata = {key: value for key, value in own().metadata.items() if key != "sha256"} | {"assumed": "{}", "origin": "x"}
    metadata["sha256"] = checksum(TENSORS, metadata)
    assert description(Contents(TENSORS, metadata), "x") is not None
    for other in ({key: metadata[key] + " "}, {key: ""}, {key: None}, {key: None, key + "s": metadata[key]}):
        changed = {name: value for name, value in (metadata | other).items() if value is not None}
        with pytest.raises(wv.InputError, match="^x: "):
            description(Contents(TENSORS, changed), "x")


def test_the_hash_is_of_names_dtypes_shapes_values_and_which_text_is_whose():
    tensors = [TENSORS, {**TENSORS, "a": np.array(8)}, {**TENSORS, "a": np.array([7])}, {**TENSORS, "a": np.array(7, np.int32)},
               {**TENSORS, "c": np.array(7)}, {"b.weight": TENSORS["a"], "a": TENSORS["b.weight"]}, {"a": TENSORS["a"]},
               {**TENSORS, "b.weight": TENSORS["b.weight"].reshape(3, 2)}]
    metadata = [{"a": "b"}, {"a": "c"}, {"b": "a"}, {"a": "b", "c": ""}, {"ab": ""}, {"a": 'b", "c": "'}, {"a": "b\n"}, {}]
    assert len({checksum(each, metadata[0]) for each in tensors}) == len(tensors)
    assert len({checksum(TENSORS, each) for each in metadata}) == len(metadata)
    assert checksum(TENSORS, {"x": "1", "y": "2"}) == checksum(dict(reversed(TENSORS.items())), {"y": "2", "x": "1"})


def flipped(content: bytes, bit: int) -> bytes:
    made = bytearray(content)
    made[bit // 8] ^= 1 << bit % 8
    return bytes(made)


def differences(path: Path, bits) -> list[int]:
    """Flipped bits of a file after which it is read, and is not what it was."""
    content, (_, right) = path.read_bytes(), formats.read(path)
    expected, said, wrong = digest(right.tensors), description(right, "x"), []
    for bit in bits:
        path.write_bytes(flipped(content, bit))
        try:
            _, found = formats.read(path)
            if (description(found, "x"), digest(found.tensors)) != (said, expected):
                wrong.append(bit)
        except wv.InputError as error:
            assert "\n" not in str(error)
    return wrong


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_any_flipped_bit_is_refused_or_changes_nothing(tmp_path, suffix, request):
    """Every bit of a small file (of .pt and .ckpt every few, but for --slow); one without its description is another."""
    path = tmp_path / f"x{suffix}"
    formats.by_suffix(path).write(path, own("m", {"k": 1}))
    step = 1 if suffix == ".safetensors" or request.config.getoption("--slow") else 7
    assert not differences(path, range(0, 8 * path.stat().st_size, step))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_flipped_bits_of_tensors(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    wv.create("saa", **CONFIG).save(path)
    assert not differences(path, np.random.default_rng(0).integers(8 * path.stat().st_size, size=200).tolist())


def test_the_test_sees_what_is_not_covered(tmp_path):
    """In version 1 there are such bits."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(VERSION_1.read_bytes())
    at = path.read_bytes().index(b'leaky_slope\\": 0.1') + len(b'leaky_slope\\": 0.')
    assert differences(path, [8 * at + 2]) == [8 * at + 2]
