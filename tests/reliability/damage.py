"""Damage to bytes, whatever they mean."""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random


def flip(content: bytes, rng: Random) -> bytes:
    """One to three bits; half of them among the first 2000 bytes and the last 500, where formats keep what they are."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        near = rng.choice(("anywhere", "anywhere", "start", "end"))
        place = {"anywhere": rng.randrange(len(made)), "start": rng.randrange(min(len(made), 2000)),
                 "end": len(made) - 1 - rng.randrange(min(len(made), 500))}[near]
        made[place] ^= 1 << rng.randrange(8)
    return bytes(made)


def cut(content: bytes, rng: Random) -> bytes:
    size = len(content)
    return content[:rng.choice((0, 1, 8, rng.randrange(size), size - 1 - rng.randrange(min(64, size))))]


def extend(content: bytes, rng: Random) -> bytes:
    return content + rng.choice((bytes(rng.randrange(1, 100)), rng.randbytes(rng.randrange(1, 100)), content, content[:100]))


def splice(content: bytes, rng: Random) -> bytes:
    """A part of the file over another part, or moved, doubled, removed, or replaced by zeros, ones or noise."""
    start, size = rng.randrange(len(content)), rng.choice((1, 4, 8, 64, rng.randrange(1, 4096)))
    part, target = content[start:start + size], rng.randrange(len(content))
    if rng.random() < 0.3:
        part = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    removed = rng.choice((0, len(part)))
    return content[:target] + part + content[target + removed:]


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {"bits": flip, "cut": cut, "extended": extend, "spliced": splice}


def sparse(path: Path, head: bytes, size: int) -> None:
    """A file of these bytes, then a hole; it takes no room on the disk."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)


def special(path: Path, rng: Random) -> str:
    """Put something that is no ordinary file in the place of a file; its sort."""
    if path.is_dir() and not path.is_symlink():
        raise ValueError(f"{path} is a folder")
    path.unlink(missing_ok=True)
    sort = rng.choice(("fifo", "folder", "loop", "dangling", "zero", "full", "empty", "canary"))
    if sort == "fifo":
        os.mkfifo(path)
    elif sort == "folder":
        path.mkdir()
    elif sort == "empty":
        path.touch()
    else:
        path.symlink_to({"loop": path, "dangling": path.with_name("nothing"), "zero": "/dev/zero", "full": "/dev/full",
                         "canary": Path.cwd() / "canary.txt"}[sort])
    return sort
