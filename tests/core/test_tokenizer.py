"""CLIP's tokenizer against the published one. What it takes is the extra `text`."""
import importlib.util
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import wvad_core as wv
from wvad_core import tokenizer
from wvad_core.methods import vadclip

GOLDEN = Path(__file__).parents[1] / "published" / "golden"
ABOUT = json.loads((GOLDEN / "vadclip_tokens.json").read_text(encoding="utf-8"))
SMALL = {"feature_dim": 16, "max_length": 32, "depth": 1, "text_width": 8, "text_heads": 1, "text_depth": 1}


def lacking() -> list[str]:
    """The packages of the extra that are not there; of one the file alone is needed."""
    try:
        merges = metadata.distribution(tokenizer.PACKAGE).locate_file(tokenizer.FILE)
        found = [] if Path(str(merges)).is_file() else [tokenizer.PACKAGE]
    except metadata.PackageNotFoundError:
        found = [tokenizer.PACKAGE]
    return found + [name for name in ("ftfy", "regex") if importlib.util.find_spec(name) is None]


with_packages = pytest.mark.skipif(bool(lacking()), reason=f"takes {', '.join(lacking())}: pip install 'wvad[text]'")


@with_packages
def test_the_published_ids():
    with np.load(GOLDEN / "vadclip_tokens.npz") as stored:
        expected = stored["tokens"]
    for text, ids in zip(ABOUT["texts"], expected):
        found = tokenizer.encoded(tokenizer.clean(text))
        assert [49406, *found, 49407] + [0] * (75 - len(found)) == ids.tolist(), text
    assert len(tokenizer.vocabulary()) == 49408 and tokenizer.vocabulary()["<|endoftext|>"] == 49407


@with_packages
def test_published_names_have_the_ids_that_are_written_down():
    for name, ids in vadclip.PUBLISHED_IDS.items():
        assert " ".join(map(str, tokenizer.token_ids(name))) == ids


@with_packages
def test_entities_are_replaced_twice_and_no_more():
    """With a < in the text, which keeps ftfy from replacing them."""
    once, twice, thrice = "< &amp; b", "< &amp;amp; b", "< &amp;amp;amp; b"
    assert tokenizer.clean(once) == tokenizer.clean(twice) == "< & b" and tokenizer.clean(thrice) == "< &amp; b"


@with_packages
def test_texts_that_are_refused():
    for text in ABOUT["too_long"]:
        with pytest.raises(wv.InputError, match="has 82 ids, expected 77 at most"):
            tokenizer.token_ids(text)
    assert len(tokenizer.token_ids("very " * 75)) == 75
    with pytest.raises(wv.InputError, match="has 78 ids, expected 77 at most"):
        tokenizer.token_ids("very " * 76)
    for text in ("<|endoftext|> fire", "a <|StartOfText|>", "&lt;|endoftext|&gt;"):
        with pytest.raises(wv.InputError, match=r"holds <\|(end|start)oftext\|>, expected words"):
            tokenizer.token_ids(text)


@with_packages
def test_classes_of_ones_own(tmp_path, monkeypatch):
    """Their ids are saved, so that no tokenizer is needed to load them."""
    made = wv.create("vadclip", classes=("normal", "a man who runs"), **SMALL)
    assert made.config.token_ids == ("5967", " ".join(map(str, tokenizer.token_ids("a man who runs"))))
    made.save(tmp_path / "x.safetensors")
    monkeypatch.setattr(vadclip, "token_ids", None)
    assert wv.load(tmp_path / "x.safetensors").config == made.config


def test_without_the_packages_one_line_says_so(monkeypatch):
    tokenizer.merge_ranks.cache_clear()
    monkeypatch.setattr(tokenizer, "PACKAGE", "no-such-package")
    with pytest.raises(wv.InputError, match=r'take the package no-such-package .*: pip install "wvad\[text\]"; or give the ids') as error:
        tokenizer.merge_ranks()
    assert "\n" not in str(error.value)
    monkeypatch.setitem(__import__("sys").modules, "ftfy", None)
    with pytest.raises(wv.InputError, match="take the package ftfy"):
        wv.create("vadclip", classes=("normal", "something else"), **SMALL)


def test_another_list_of_merges_is_refused(monkeypatch, tmp_path):
    (tmp_path / "open_clip").mkdir()
    (tmp_path / tokenizer.FILE).write_bytes(b"other")
    tokenizer.merge_ranks.cache_clear()
    monkeypatch.setattr(tokenizer.metadata, "distribution", lambda name: type("D", (), {
        "locate_file": staticmethod(lambda file: tmp_path / file)}))
    with pytest.raises(wv.InputError, match="not the list of merges that CLIP was trained with"):
        tokenizer.merge_ranks()
    tokenizer.merge_ranks.cache_clear()


def test_known_ids_take_no_tokenizer(monkeypatch):
    monkeypatch.setattr(vadclip, "token_ids", None)
    assert vadclip.Config().words[8] == "4370 22072"
    assert wv.create("vadclip", classes=("normal", "else"), token_ids=("5", "6 7"), vocabulary=10, **SMALL).config.words[1] == "6 7"
