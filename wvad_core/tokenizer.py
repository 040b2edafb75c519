"""CLIP's byte-pair encoding of texts (Radford et al. 2021), for prompts of one's own.

A text is cleaned (mojibake, HTML entities twice, blanks, capitals) and split into pieces; each piece's UTF-8 bytes stand as
characters, "</w>" at the last, and the pair that comes first in the list of merges is joined until none of them is left. The
ids are those of the vocabulary: 256 characters, the same behind "</w>", the merges in their order, start and end of a text.

Cleaning and splitting take the packages `ftfy` and `regex`; the list of merges is a file of `open_clip_torch`, of which nothing
is imported: `pip install "wvad[text]"`.
"""
from __future__ import annotations

import gzip
import hashlib
import html
import importlib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import InputError, one_line

CONTEXT = 77
"""Ids of a text at most, its start and its end among them."""
MERGES = 48894
PACKAGE, FILE = "open_clip_torch", "open_clip/bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
END = "</w>"


def token_ids(text: str) -> list[int]:
    """The ids of a text, without those of its start and end.

    Raises InputError for one of more than 77 ids with these, for one that holds them, and where a package lacks.
    """
    cleaned = clean(text)
    if special := [token for token in SPECIAL if token in cleaned]:
        raise InputError(f"the text {one_line(text, 80)!r} holds {special[0]}, expected words")
    found = encoded(cleaned)
    if len(found) + 2 > CONTEXT:
        raise InputError(f"the text {one_line(text, 80)!r} has {len(found) + 2} ids, expected {CONTEXT} at most")
    return found


def clean(text: str) -> str:
    """Mojibake mended, HTML entities replaced twice (&amp;lt; is <), one space for any blanks, lower case."""
    mended = html.unescape(html.unescape(_package("ftfy").fix_text(text)))
    return _package("regex").sub(r"\s+", " ", mended).strip().lower()


def encoded(cleaned: str) -> list[int]:
    """The ids of a cleaned text; the special tokens in it are theirs."""
    regex, ids = _package("regex"), vocabulary()
    return [ids[token] for piece in regex.findall(PIECES, cleaned, regex.IGNORECASE) for token in tokens_of(piece)]


@cache
def tokens_of(piece: str) -> tuple[str, ...]:
    """The entries of the vocabulary that a piece of a text becomes."""
    if piece in SPECIAL:
        return (piece,)
    characters = byte_characters()
    parts = [characters[byte] for byte in piece.encode("utf-8")]
    parts[-1] += END
    ranks = merge_ranks()
    while len(parts) > 1:
        first = min(zip(parts, parts[1:]), key=lambda pair: ranks.get(pair, MERGES))
        if first not in ranks:
            break
        parts = list(_joined(parts, first))
    return tuple(parts)


def _joined(parts: list[str], pair: tuple[str, str]) -> Iterable[str]:
    """The parts with all occurrences of a pair joined, from left to right."""
    place = 0
    while place < len(parts):
        together = tuple(parts[place:place + 2]) == pair
        yield "".join(pair) if together else parts[place]
        place += 1 + together


@cache
def byte_characters() -> dict[int, str]:
    """{byte: the character that stands for it}: itself where it can be printed, the others from 256 on, in the vocabulary's order."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in own]
    return {byte: chr(byte) for byte in own} | {byte: chr(256 + place) for place, byte in enumerate(others)}


@cache
def vocabulary() -> dict[str, int]:
    """{entry: id}, 49408 of them."""
    characters = [*byte_characters().values()]
    entries = [*characters, *(character + END for character in characters), *map("".join, merge_ranks()), *SPECIAL]
    return {entry: place for place, entry in enumerate(entries)}


@cache
def merge_ranks() -> dict[tuple[str, str], int]:
    """{pair: its place in the list of merges}. Raises InputError where the file is not there, or is another one."""
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
        raw = path.read_bytes()
    except (metadata.PackageNotFoundError, OSError) as error:
        raise _lacking(PACKAGE, error) from error
    if hashlib.sha256(raw).hexdigest() != SHA256:
        raise InputError(f"{path}: not the list of merges that CLIP was trained with, expected SHA-256 {SHA256}")
    lines = gzip.decompress(raw).decode("utf-8").split("\n")[1:MERGES + 1]
    return {(pair[0], pair[1]): rank for rank, pair in enumerate(line.split() for line in lines)}


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _lacking(name, error) from error


def _lacking(name: str, error: Exception) -> InputError:
    return InputError(f"texts other than the published classes' take the package {name} ({one_line(error, 80)}): "
                      'pip install "wvad[text]"; or give the ids themselves')
