"""Hostile tables of videos: whatever is taken says what the text says, cell by cell."""
from __future__ import annotations

import csv
import io
from pathlib import Path
from random import Random

from array_cases import TABLE
from damage import DAMAGES, sparse, special
from trials import Trial, kind

from wvad_core.data import load_table

CELLS = ("", "x", "-1", "0", "1e9", "9" * 5000, "1" * 30, "٣", "²", "１６", "0x10", "1_000", " 7 ", "+7", "nan", "inf",
         "10-5", "5-5", "-1-4", "0-1",
         "0-99999", "1-2-3", "9" * 4400 + "-" + "9" * 4401, "4-" + "9" * 20, "0-1 " * 3000, "test", "train", "TEST",
         "Normal", "a,b", 'a"b',
         '"', "../x", "/etc/passwd", "nul\0", "\ud800", "a\u202eb", "\x1b[2J", "x" * 200_000, "-", "A-B", "NaN")


def second_reading(text: str) -> list[tuple] | None:
    """The rows as Python's csv has them, in numbers."""
    try:
        rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
        return [(row["video"].strip(), row["split"].strip(), row["category"].strip(),
                 int(row["frames"]) if row["frames"].strip() else None,
                 tuple(tuple(map(int, pair.split("-"))) for pair in row["intervals"].split()),
                 float(row["fps"]) if (row.get("fps") or "").strip() else None) for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error):
        return None


def judged(path: Path) -> Trial:
    try:
        expected = second_reading(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        expected = None
    return Trial(lambda: load_table(path), None if expected is None else lambda videos: expected == [
        (v.name, v.split, v.category, v.frames, v.intervals, v.frame_rate) for v in videos])


@kind("table, damaged", 6)
def damaged(rng: Random, folder: Path) -> Trial:
    path = folder / "own.csv"
    path.write_bytes(DAMAGES[rng.choice(list(DAMAGES))](TABLE.encode(), rng))
    return judged(path)


@kind("table, cells replaced", 8)
def cells(rng: Random, folder: Path) -> Trial:
    """Cells, rows and columns exchanged for others; half of the tables are quoted right, the others are not."""
    rows = [line.split(",") for line in TABLE.splitlines()]
    if rng.random() < 0.3:
        rows = [[*row, "fps" if number == 0 else rng.choice(("30", "", *CELLS))] for number, row in enumerate(rows)]
    for _ in range(rng.randrange(1, 4)):
        row = rng.choice(rows[rng.random() < 0.9:])
        if row:
            row[rng.randrange(len(row))] = rng.choice(CELLS)
        change = rng.random()
        if change < 0.1:
            rows.insert(rng.randrange(len(rows)), rng.choice(([], ["x"], [""] * 5, list(row), ["a"] * 9)))
        elif change < 0.2:
            row[:] = row[:-1]
    path = folder / "own.csv"
    text = io.StringIO(newline="")
    if rng.random() < 0.5:
        csv.writer(text, lineterminator=rng.choice(("\n", "\r\n", "\r"))).writerows(rows)
    else:
        text.write("\n".join(map(",".join, rows)))
    path.write_bytes(rng.choice((b"", b"", b"\xef\xbb\xbf", b"\xff\xfe")) + text.getvalue().encode("utf-8", "surrogatepass"))
    return judged(path)


@kind("table, sparse or special file")
def not_a_file(rng: Random, folder: Path) -> Trial:
    path = folder / "own.csv"
    if rng.random() < 0.6:
        path.write_text(TABLE)
        special(path, rng)
    else:
        sparse(path, rng.choice((TABLE.encode(), b"", b'"', b"video,split")), rng.choice((3, 50, 200)) << 30)
    return Trial(lambda: load_table(path))
