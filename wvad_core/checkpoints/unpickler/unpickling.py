"""Unpickling that can build tensors and plain containers, and can do nothing else.

`pickletools.genops` takes a pickle apart into its opcodes; this is the machine that carries them out. It imports nothing
and sets no attribute: a name in the pickle is looked up in one table of this library's own functions (stand_ins.NAMES),
and a name that is not there ends the reading. What no tensor is made of (sets, NumPy's numbers, the attributes of a
Namespace, the entries of a dict under keys other than text) is let go as it is met.

It is bounded by the file: one object an opcode at most, a limit on the opcodes, and functions that copy what they are
given (OrderedDict of pairs, text to bytes) may copy no more than the file has bytes in all.
"""
from __future__ import annotations

import itertools
import pickletools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from .stand_ins import MODULE, NAMES, OTHER, SCRIPTED, Call, Machine, Module
from .storages import Kind, NumpyArray, NumpyType, Refused, Region, Storage, Storages, Tensor, Unsupported, whole

ARGUMENTS = 20  # of a call; a quantised tensor has 7
MAGIC = 0x1950a86a20f9469cfc6c  # the first pickle of a file of torch < 1.6; the second is VERSION
VERSION = 1001
OPCODES_WITHIN = 1000  # of a pickle of one storage, inside another; it has 50
MEMO = 2**32  # entries are numbered below it
DEPTH = 1000  # of marks that are open at once; a state dict has 5
LINE = 64 * 2**20  # bytes; the array of a tensor is one in the oldest protocol
CONTENT = 400 * 2**20  # bytes of texts and arrays that lie in the pickle itself, all together: those of NumPy alone
OPCODES = 2_000_000  # of one pickle: 200 MB of objects at the most, seconds; a state dict has 20 for each tensor


def load(file: BinaryIO, size: int, within: bool = False) -> Any:
    """The object in a file of `size` bytes that is a pickle, or the pickles and storages of torch < 1.6.

    `within`: the file is itself inside a pickle. Raises Refused, and whatever damage leads to.
    """
    storages = Storages(file)
    machine = Unpickler(file, size, storages, within)
    top = machine.load()
    if type(top) is not int or top != MAGIC:
        return top
    if machine.load() != VERSION:
        raise Refused(f"of an unknown version of PyTorch's older format, expected {VERSION}")
    machine.load()  # about the computer it was written on
    top, keys = machine.load(), machine.load()
    storages.regions.update(_regions(file, size, keys, machine.kinds))
    return top


def _regions(file: BinaryIO, size: int, keys: list[str], kinds: dict[str, Kind]) -> Iterator[tuple[str, Region]]:
    """Where the storages lie: one after another to the end of the file, each after its number of elements (int64)."""
    for key in keys:
        count = int.from_bytes(file.read(8), "little", signed=True)
        region = Region(file.tell(), count * kinds[key].dtype.itemsize)
        if count < 0 or region.start + region.size > size:
            raise Refused(f"cut short: storage {key!r} has {count} elements, {size - region.start} bytes are left")
        yield key, region
        file.seek(region.start + region.size)
    if file.tell() != size:
        raise Refused(f"{size - file.tell()} bytes after the last storage")


class _Reader:
    """A file for genops, which allocates no more than is left of it, whatever length the pickle claims, or LINE, and no more
    than CONTENT in all."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.tell = file.tell
        self._read, self._readline, self._size, self._left = file.read, file.readline, size, CONTENT

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Refused(f"its pickle has more than {CONTENT} bytes of texts and arrays")

    def readline(self) -> bytes:
        line = self._readline(LINE)
        self._spend(len(line))
        if len(line) == LINE:
            raise Refused(f"its pickle has a line of more than {LINE} bytes")
        return line

    def read(self, count: int) -> bytes:
        if count > 256:
            count = min(count, self._size - self.tell())
            self._spend(count)
        return self._read(count)


class _Unknown(Exception):
    """A name that is not in the table."""


class Unpickler(Machine):
    """Carries out one pickle after another from a file of `size` bytes. The tensors that it builds lie in `storages`."""

    def __init__(self, file: BinaryIO, size: int, storages: Storages, within: bool = False) -> None:
        super().__init__(size, None if within else load)
        self.reader, self.storages = _Reader(file, size), storages
        self.kinds: dict[str, Kind] = {}  # of the storages that the pickle names
        self.opcodes_left = OPCODES_WITHIN if within else OPCODES

    def load(self) -> Any:
        """The object of the next pickle."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        opcodes = pickletools.genops(self.reader)
        for opcode, argument, _ in opcodes:
            self.opcodes_left -= 1
            if not self.opcodes_left:
                raise Refused("its pickle is far longer than a state dict's")
            if opcode.name == "STOP":
                return self.stack.pop()
            if opcode.name not in ACTIONS:
                number = "" if argument is None else f" {argument}"
                raise Refused(f"its pickle has opcode {opcode.name}{number}, which no state dict has")
            try:
                ACTIONS[opcode.name](self, argument)
            except _Unknown as unknown:
                raise Refused(_refusal(str(unknown), opcodes)) from None
        raise EOFError("its pickle has no end")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self, _: None) -> None:
        if len(self.marks) >= DEPTH:
            raise Refused("its pickle is nested too deeply")
        self.marks.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """What is on the stack above the last mark; it is taken off, and the mark with it."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def last(self, count: int) -> list[Any]:
        """The last `count` things on the stack, taken off, in the order in which they came."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def put(self, index: int | None) -> None:
        index = len(self.memo) if index is None else index
        if index >= MEMO:
            raise ValueError(f"an entry {index} of the memo")
        self.memo[index] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)
        elif self.stack[-1] is not OTHER:
            raise Refused(f"its pickle appends to {_sort(self.stack[-1])}")

    def set_items(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            self.stack[-1].update((key, value) for key, value in pairs if type(key) is str)
        elif self.stack[-1] is not OTHER:
            raise Refused(f"its pickle sets items of {_sort(self.stack[-1])}")

    def name(self, name: str) -> None:
        name = name.replace("__builtin__.", "builtins.").replace("numpy._core.", "numpy.core.")
        known = MODULE if name.startswith(SCRIPTED) else NAMES.get(name)
        if known is None:
            raise _Unknown(name)
        self.push(known)

    def name_on_stack(self, _: None) -> None:
        module, name = self.last(2)
        if type(name) is not str or type(module) is not str:
            raise ValueError("a name that is no text")
        self.name(f"{module}.{name}")

    def call(self, called: Any, arguments: Any) -> None:
        if not isinstance(called, Call) or not isinstance(arguments, tuple):
            raise Refused(f"its pickle calls {_sort(called)}")
        if called.function is None:
            self.push(OTHER)
            return
        if len(arguments) > ARGUMENTS:
            raise Refused(f"its pickle calls {called.name} with {len(arguments)} arguments")
        self.push(called.function(self, *arguments))

    def inst(self, name: str) -> None:
        arguments = tuple(self.marked())
        self.name(name.replace(" ", ".", 1))
        self.call(self.stack.pop(), arguments)

    def obj(self, _: None) -> None:
        called, *arguments = self.marked()
        self.call(called, tuple(arguments))

    def build(self, _: None) -> None:
        """Give what is on the stack its state. Only TorchScript's modules, NumPy's arrays and dtypes take one; of the rest
        it is let go."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, NumpyType):
            target.order = {"<": "<", ">": ">", "|": "=", "=": "="}[state[1]]
        elif isinstance(target, Module):
            self.copied(len(state) if isinstance(state, dict) else 0)
            target.update(state if isinstance(state, dict) else {})
        elif isinstance(target, NumpyArray):
            _, target.shape, target.type, target.fortran, data = state
            target.data = self.encode(data) if isinstance(data, str) else data  # text where Python 2 wrote it
        elif target is not OTHER and not isinstance(target, (dict, Tensor, Unsupported)):
            raise Refused(f"its pickle sets attributes of {_sort(target)}")

    def persistent(self, _: None) -> None:
        """A storage: ("storage", class, key, device, elements[, None or (view's key, first element, elements)])."""
        given = self.stack.pop()
        if not isinstance(given, tuple) or len(given) not in (5, 6):
            raise ValueError("a storage that is named as PyTorch does not")
        tag, kind, key, _, count, *view = given
        _, first, count = view[0] if view and view[0] is not None else (None, 0, count)
        if tag != "storage" or not isinstance(kind, Kind) or type(key) is not str or not whole(first, count):
            raise ValueError("a storage without class, key or size")
        self.kinds.setdefault(key, kind)
        self.push(Storage(self.storages, key, kind, count, first))


def _refusal(name: str, rest: Iterable[tuple[Any, Any, Any]]) -> str:
    """Say that a name may not be called; what follows in the pickle shows whether it is the class of a whole model."""
    shown = name if name.isprintable() else ascii(name)
    try:
        model = any(argument == "_parameters" for _, argument, _ in itertools.islice(rest, OPCODES))
    except (ValueError, OverflowError):
        model = False
    if model or name.startswith("torch.nn.modules."):
        return (f"holds a whole model, whose code its pickle would run ({shown[:100]}); save its tensors alone: "
                "torch.save(model.state_dict(), ...)")
    return f"its pickle would call {shown[:100]}; refused, only tensors and plain containers are built"


def _sort(value: Any) -> str:
    return value.name if isinstance(value, (Call, Kind)) else type(value).__name__


Action = Callable[[Unpickler, Any], None]
LITERALS = ("INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES "
            "SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8").split()
ACTIONS: dict[str, Action] = {
    **dict.fromkeys(LITERALS, Unpickler.push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Unpickler.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": Unpickler.mark,
    "POP": lambda machine, _: machine.stack.pop() if machine.stack else machine.marked(),
    "POP_MARK": lambda machine, _: machine.marked(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.last(3))),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "LIST": lambda machine, _: machine.push(machine.marked()),
    "APPEND": lambda machine, _: machine.extend(machine.last(1)),
    "APPENDS": lambda machine, _: machine.extend(machine.marked()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "DICT": lambda machine, _: (items := machine.marked(), machine.push({}), machine.set_items(items)),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.marked()),
    "EMPTY_SET": lambda machine, _: machine.push(OTHER),
    "FROZENSET": lambda machine, _: (machine.marked(), machine.push(OTHER)),
    "ADDITEMS": lambda machine, _: machine.extend(machine.marked()),
    "GLOBAL": lambda machine, name: machine.name(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": Unpickler.name_on_stack,
    "REDUCE": lambda machine, _: machine.call(*machine.last(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.last(2)),
    "INST": Unpickler.inst,
    "OBJ": Unpickler.obj,
    "BUILD": Unpickler.build,
    "BINPERSID": Unpickler.persistent,
}
