"""The formats of checkpoint files. A format is a module of this package, which offers

    NAME                    what people call it
    recognises(path)        whether a file is in this format, by its first bytes
    read(path)              its Contents. Raises InputError unless it is whole

and, unless it is only read,

    SUFFIXES                of the files that are written in it
    write(path, contents)   whole or not at all
"""
from __future__ import annotations

import importlib
import logging
import pkgutil
from pathlib import Path
from types import ModuleType

from ...errors import InputError
from ..contents import Contents, checked_size

LOGGER = logging.getLogger("wvad")
LONGEST = 500
"""Characters of a tensor's name."""


def formats() -> list[ModuleType]:
    """All formats that are written and read, by name."""
    return [module for module in readable() if hasattr(module, "SUFFIXES")]


def readable() -> list[ModuleType]:
    """All formats, by name."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return sorted((module for module in modules if hasattr(module, "recognises")), key=lambda module: module.NAME)


def suffixes() -> str:
    """The formats that are written and their suffixes, for people."""
    return ", ".join(f"{' '.join(kind.SUFFIXES)} ({kind.NAME})" for kind in formats())


def by_suffix(path: Path) -> ModuleType:
    """The format that a file of this name is written in. Raises InputError for an unknown suffix."""
    for kind in formats():
        if path.suffix.lower() in kind.SUFFIXES:
            return kind
    raise InputError(f"{path}: no format has the suffix {path.suffix!r}, expected {suffixes()}")


def recognise(path: Path) -> ModuleType:
    """The format that a file is in by its content; where that says nothing, by its suffix.

    Raises InputError where there is no such file, or no such format, and for a file that is too large.
    """
    checked_size(path)
    try:
        found = [kind for kind in readable() if kind.recognises(path)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if found:
        return found[0]
    try:
        return by_suffix(path)
    except InputError:
        names = ", ".join(kind.NAME for kind in readable())
        raise InputError(f"{path}: neither its content nor its name is that of a checkpoint ({names})") from None


def read(path: Path) -> tuple[ModuleType, Contents]:
    """A file's format and contents. Raises InputError for what is not whole, and for names that are no printable text."""
    kind = recognise(path)
    contents = kind.read(path)
    for name in contents.tensors:
        if len(name) > LONGEST or not name.isprintable():
            raise InputError(f"{path}: a tensor has the name {ascii(name[:50])}, expected at most {LONGEST} printable "
                             "characters")
    LOGGER.debug("%s: %s, %d tensors", path, kind.NAME, len(contents.tensors))
    return kind, contents
