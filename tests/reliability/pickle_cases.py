"""Hostile pickles, in every form of PyTorch's files: opcodes by grammar, calls of anything, endless nesting, harmless extras.

A pickle that is run makes a file beside its case, which the harness sees.
"""
from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import pickle
import pickletools
import struct
from pathlib import Path
from random import Random

import second_readers
from checkpoint_cases import any_base, contents, legacy, of_others, pickled, scores, zipped
from trials import Trial, equals, kind

GLOBALS = ("os system", "posix system", "builtins eval", "builtins exec", "builtins open", "subprocess Popen", "io open",
           "builtins getattr", "builtins __import__", "importlib import_module", "shutil rmtree", "os remove",
           "pathlib Path",
           "numpy fromfile", "numpy save", "numpy.lib.npyio load", "torch load", "torch.hub load", "codecs open",
           "runpy run_path",
           "ctypes CDLL", "pickle loads", "marshal loads", "types FunctionType", "functools partial", "operator attrgetter",
           "wvad_core.files write_json", "wvad_core.detector load", "sys exit", "os abort", "os _exit", "time sleep",
           "signal pause", "collections OrderedDict", "collections defaultdict", "torch._utils _rebuild_tensor_v2",
           "torch FloatStorage", "torch Size", "numpy dtype", "numpy ndarray", "numpy.core.multiarray _reconstruct",
           "numpy.core.numeric _frombuffer", "_codecs encode", "builtins bytearray", "builtins bytes", "builtins list",
           "torch.storage _load_from_bytes", "torch.nn.parameter Parameter", "argparse Namespace", "datetime datetime",
           "collections deque", "builtins slice")
FORMS = {"plain": ("x.pkl", lambda top, code: code, second_readers.plain),
         "zip": ("x.pt", zipped, second_readers.zipped), "legacy": ("x.pt", legacy, second_readers.legacy)}


def number(rng: Random) -> int:
    return rng.choice((0, 1, 2, 3, 7, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, -1, -2**31, rng.randrange(1000)))


def argument(rng: Random, opcode: pickletools.OpcodeInfo) -> bytes:
    """The bytes of an opcode's argument: a right one, most of the time."""
    about = opcode.arg
    if about is None:
        return b""
    text = rng.choice((b"a", b"weight", b"storage", b"touch ran", b"x" * 300, str(number(rng)).encode(), b"\xff\xfe"))
    value = number(rng)
    if about.name == "stringnl_noescape_pair":
        return rng.choice(GLOBALS).replace(" ", "\n").encode() + b"\n"
    if about.n == pickletools.UP_TO_NEWLINE:
        return {"stringnl": b"'" + text + b"'", "decimalnl_short": str(value).encode(),
                "decimalnl_long": str(value).encode() + b"L",
                "floatnl": b"1e9", }.get(about.name, text) + b"\n"
    if about.n > 0:
        return (value % 256 ** about.n).to_bytes(about.n, "little")
    size = {pickletools.TAKEN_FROM_ARGUMENT1: 1, pickletools.TAKEN_FROM_ARGUMENT4: 4, pickletools.TAKEN_FROM_ARGUMENT4U: 4,
            pickletools.TAKEN_FROM_ARGUMENT8U: 8}[about.n]
    claimed = len(text) if rng.random() < 0.97 else abs(value)
    return (claimed % 256**size).to_bytes(size, "little") + text[:255]


def by_grammar(rng: Random) -> bytes:
    """Opcodes whose needs the stack meets, most of the time."""
    code, depth, marks, memo = [b"\x80\x02"], 0, [], 0
    for _ in range(rng.randrange(3, 80)):
        opcode = rng.choice(pickletools.opcodes)
        needs = len([thing for thing in opcode.stack_before if thing.name not in ("mark", "stackslice")])
        marked = any(thing.name == "mark" for thing in opcode.stack_before)
        if (depth < needs or (marked and not marks) or opcode.name in ("STOP", "PROTO", "FRAME")) and rng.random() < 0.98:
            continue
        if opcode.name.endswith("GET") and not memo and rng.random() < 0.95:
            continue
        code.append(opcode.code.encode("latin-1") + argument(rng, opcode))
        if opcode.name == "MARK":
            marks.append(depth)
            depth = 0
        elif marked and marks:
            depth = marks.pop() - needs + 1
        else:
            depth += len(opcode.stack_after) - len(opcode.stack_before)
        memo += opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
        depth = max(depth, 0)
    return b"".join(code) + b"."


def written(rng: Random, folder: Path, code: bytes, form: str | None = None) -> Trial:
    """A pickle in a form, beside real storages; taken only where it gives what another reader finds."""
    made = any_base(rng, folder)
    tensors = made.published
    name, write, reader = FORMS[form or rng.choice(list(FORMS))]
    (folder / name).write_bytes(write(tensors, code))
    return of_others(folder / name, made, reader)


@kind("pickle, opcodes by grammar", 10)
def grammar(rng: Random, folder: Path) -> Trial:
    return written(rng, folder, by_grammar(rng))


@kind("pickle, calls", 6)
def calls(rng: Random, folder: Path) -> Trial:
    """A call of anything that Python can name, by every opcode that calls, among a whole state dict or alone."""
    module, name = rng.choice(GLOBALS).split()
    mark = str(folder.parent / "outside" / "ran")
    argument = rng.choice((f"touch {mark}", f"open({mark!r}, 'w')", mark, str(folder.parent / "outside"), "os", "9" * 200))
    text = b"X" + struct.pack("<I", len(argument)) + argument.encode()
    named = rng.choice((f"c{module}\n{name}\n".encode(), b"X" + struct.pack("<I", len(module)) + module.encode()
                        + b"X" + struct.pack("<I", len(name)) + name.encode() + b"\x93"))
    arguments = rng.choice((text + b"\x85", b"(" + text + b"X\x01\0\0\0wt", b")", text + text + b"\x86"))
    call = rng.choice((named + arguments + b"R", b"(" + named + text + b"o", b"(" + text + f"i{module}\n{name}\n".encode(),
                       named + arguments + b"\x81", named + arguments + b"}\x92", named + arguments + b"R}b"))
    return written(rng, folder, b"\x80\x04" + rng.choice((call, b"}X\x01\0\0\0a" + call + b"s", b"(" + call + b"l")) + b".")


@kind("pickle, damaged", 6)
def damaged(rng: Random, folder: Path) -> Trial:
    """The pickle of a real file with bits, opcodes or numbers changed, under a right checksum."""
    made = any_base(rng, folder)
    tensors = made.published
    code = bytearray(pickled(tensors)[0])
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(code))
        change = rng.choice(("bit", "byte", "opcode", "remove", "double"))
        if change == "bit":
            code[place] ^= 1 << rng.randrange(8)
        elif change == "remove":
            del code[place:place + rng.randrange(1, 9)]
        elif change == "double":
            code[place:place] = code[place:place + rng.randrange(1, 40)]
        else:
            code[place] = rng.randrange(256) if change == "byte" else ord(rng.choice(pickletools.opcodes).code)
    name, write, reader = FORMS[rng.choice(("zip", "legacy"))]
    (folder / name).write_bytes(write(tensors, bytes(code)))
    return of_others(folder / name, made, reader)


@kind("pickle, endless", 3)
def endless(rng: Random, folder: Path) -> Trial:
    """Little that would become much: nesting, doubling, long numbers, a memo of anything."""
    count = rng.choice((100, 10_000, 300_000))
    code = rng.choice((
        b"(" * count, b"]" * count + b"a" * (count - 1), b")" + b"\x85" * count, b"}" + b"]q\0(h\0h\0h\0h\0e" * 40,
        b"".join([b"]", *(b"q%c(h%ch%ch%ch%ch%ch%ch%ch%ch%cl" % ((i,) * 10) for i in range(40))]),
        b"I" + b"9" * count + b"\n", b"\x8b" + struct.pack("<i", count) + b"\xff" * count, b"V" + b"\\u0041" * count + b"\n",
        b"r" + b"\xff" * 4, b"X" + struct.pack("<I", 2**32 - 1), b"\x8d" + struct.pack("<Q", 2**62),
        b"\x8e" + struct.pack("<Q", 2**40),
        b"(" + b"I1\n" * count + b"l", b"(" + b"Va\nI1\n" * count + b"d", b"2" * count,
        b"N" + b"2" * count + b"\x86" * count,
        b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R", b"cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R",
        b"ccollections\nOrderedDict\n(" + b"]" * count + b"tR"))
    made = any_base(rng, folder)
    tensors = made.published
    name, write, _ = FORMS[rng.choice(list(FORMS))]
    (folder / name).write_bytes(write(tensors, b"\x80\x02" + code + b"."))
    return Trial(scores(folder / name, made))


@kind("pickle, harmless extras", 2)
def extras(rng: Random, folder: Path) -> Trial:
    """What official training scripts save beside the weights; no tensor is made of it, and the tensors are read."""
    made = any_base(rng, folder)
    tensors = made.published
    values = [pathlib.PurePosixPath("/data/i3d"), slice(1, 2), collections.deque([1, 2]), datetime.datetime(2024, 1, 1),
              argparse.Namespace(lr=1e-3, path=pathlib.PurePosixPath("x")), {1, 2}, frozenset("a"), 1 + 2j, range(3),
              collections.Counter("aab"), None, 10**30, b"bytes", datetime.timedelta(1)]
    top = {"epoch": 3, "state_dict": tensors, "args": dict(enumerate(rng.sample(values, 4)))}
    if rng.random() < 0.5:
        top = dict(reversed(top.items()))
    form = rng.choice(("zip", "legacy", "plain"))
    name, write, _ = FORMS[form]
    code = pickle.dumps(top, rng.choice((2, 3, 4))) if form == "plain" else None
    (folder / name).write_bytes(code or (zipped(top) if form == "zip" else legacy(top)))
    return Trial(contents(folder / name, made, made.settings), equals(tensors), refusable=False)
