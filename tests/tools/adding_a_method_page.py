"""The files and commands of docs/adding_a_method.md, as its reader takes them from it."""
from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "adding_a_method.md"
BLOCK = re.compile(r"(?P<before>[^\n]+(?:\n[^\n]+)*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"`([\w/]+\.(?:py|toml))`")


def blocks(language: str, heading: str | None = None) -> list[tuple[str, str]]:
    """(the paragraph before it, its text) of each block in a language, below a heading or anywhere."""
    text = PAGE.read_text(encoding="utf-8")
    if heading is not None:
        text = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]
    return [(m["before"], m["text"]) for m in BLOCK.finditer(text) if m["language"] == language]


def files(home: str) -> dict[str, str]:
    """{path: text} of what lies "in the repository" or "in a package of its own"."""
    found = {}
    for before, text in blocks("python") + blocks("toml"):
        paths = FILE.findall(before)
        if "in the repository" in before:
            found[paths[home == "in a package of its own"]] = text
        elif paths and not before.startswith("In `CONFIGS`") and home == "in a package of its own":
            found[paths[0]] = text
    return found


def row() -> str:
    """The row of the table of parity tests."""
    (found,) = [text for before, text in blocks("python") if before.startswith("In `CONFIGS`")]
    return found


def commands(heading: str) -> list[str]:
    """The command lines below a heading."""
    return [line for _, text in blocks("sh", heading) for line in text.splitlines()]


def write(folder: Path, written: dict[str, str]) -> None:
    for path, text in written.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
