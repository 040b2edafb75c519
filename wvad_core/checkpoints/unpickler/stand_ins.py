"""What a pickle may name, and what is done in its place: NAMES, {"module.name": Call, or Kind for a dtype or storage}.

The functions are called with what the pickle gives them, which may be anything: they look at each argument before they
use it, copy no more than the file's length in all, and make nothing but descriptions of tensors and plain containers.
What training scripts save beside the weights (arguments, paths, dates) is INERT: whatever is made of it, or given to it, is
one object that holds nothing.
"""
from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from .storages import DTYPES, STORAGES, Kind, NumpyArray, NumpyType, Refused, Storage, Tensor, Unsupported

OTHER = object()  # anything that no tensor is made of


class Module(dict[str, Any]):
    """A module of a TorchScript archive, {attribute: value}: all that is kept of it is what its state says."""


@dataclass(frozen=True, eq=False, slots=True)
class Call:
    """A name that the pickle may call, and what is called in its place: function(machine, *arguments).

    None where nothing is called; OTHER comes of it, whatever the arguments.
    """
    name: str
    function: Callable[..., Any] | None


class Machine:
    """The functions themselves, and how much they may still copy.

    `load(file, size, within=True)` reads a file inside the pickle; None where this is one.
    """

    def __init__(self, size: int, load: Callable[[BinaryIO, int, bool], Any] | None) -> None:
        self.copies_left = 2 * size  # what is text at first and then a file inside the file is copied twice
        self.load_within = load

    def copied(self, count: int) -> None:
        self.copies_left -= count
        if self.copies_left < 0:
            raise Refused("its pickle copies the same content over and over")

    def module(self) -> Module:
        """A class of a TorchScript archive's own; the state follows."""
        return Module()

    def mapping(self, *arguments: Any) -> dict[str, Any]:
        """dict, OrderedDict, Counter, and defaultdict, whose first argument makes values."""
        content = arguments[-1] if arguments else ()
        content = content if isinstance(content, (list, tuple, dict)) else ()
        self.copied(len(content))
        pairs = content.items() if isinstance(content, dict) else content
        return {key: value for key, value in pairs if type(key) is str}

    def size(self, axes: Any) -> tuple[Any, ...]:
        """torch.Size"""
        if not isinstance(axes, (list, tuple)):
            raise ValueError("a torch.Size of something else")
        self.copied(len(axes))
        return tuple(axes)

    def encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """_codecs.encode, by which protocol 2 has bytes."""
        if type(text) is not str or encoding not in ("latin1", "latin-1"):
            raise ValueError("bytes that are not text in latin1")
        self.copied(len(text))
        return text.encode("latin-1")

    def no_bytes(self) -> bytes:
        """bytes(), by which protocol 2 has the empty ones."""
        return b""

    def storage(self, data: Any) -> Storage:
        """A storage in a file of its own inside the pickle: a state dict written by pickle.dump."""
        if not isinstance(data, bytes) or self.load_within is None:
            raise ValueError("a storage inside a storage")
        self.copied(len(data))
        storage = self.load_within(io.BytesIO(data), len(data), True)
        if not isinstance(storage, Storage):
            raise ValueError("a storage that is something else")
        return storage

    def tensor(self, storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any = None, hooks: Any = None,
               metadata: Any = None) -> Tensor | Unsupported:
        """_rebuild_tensor, without what follows the strides, and _rebuild_tensor_v2."""
        kind = storage.kind if isinstance(storage, Storage) else None
        return self.tensor_of_dtype(storage, offset, shape, stride, requires_grad, hooks, kind, metadata)

    def tensor_of_dtype(self, storage: Any, offset: Any, shape: Any, stride: Any, requires_grad: Any, hooks: Any,
                        kind: Any, metadata: Any = None) -> Tensor | Unsupported:
        """_rebuild_tensor_v3. The metadata say where values are to be negated or conjugated when they are read."""
        if not (isinstance(storage, Storage) and isinstance(kind, Kind) and isinstance(shape, (list, tuple))
                and isinstance(stride, (list, tuple))):
            raise ValueError("a tensor without storage, dtype, shape or strides")
        if not kind.readable:
            return Unsupported(f"of dtype {kind.name}")
        if metadata:
            return Unsupported("a tensor with a conjugate or negative bit")
        self.copied(len(shape) + len(stride))
        return Tensor(storage, kind, offset, tuple(shape), tuple(stride))

    def tensor_with_attributes(self, function: Any, _: Any, arguments: Any, state: Any) -> Tensor | Unsupported:
        """_rebuild_from_type_v2: a tensor of a subclass or with attributes; both are let go."""
        if function not in (NAMES["torch._utils._rebuild_tensor_v2"], NAMES["torch._utils._rebuild_tensor_v3"]):
            return Unsupported("a tensor of a class of its own")
        return function.function(self, *arguments)

    def parameter(self, tensor: Any, *_: Any) -> Tensor | Unsupported:
        """A Parameter is its tensor; requires_grad, hooks and attributes are let go."""
        if not isinstance(tensor, (Tensor, Unsupported)):
            raise ValueError("a parameter that is no tensor")
        return tensor

    def quantised(self, *_: Any) -> Unsupported:
        return Unsupported("a quantised tensor")

    def sparse(self, *_: Any) -> Unsupported:
        return Unsupported("a sparse tensor")

    def meta(self, *_: Any) -> Unsupported:
        return Unsupported("a tensor without values (device meta)")

    def numpy_type(self, code: Any, *_: Any) -> NumpyType:
        return NumpyType(code)

    def numpy_array(self, *_: Any) -> NumpyArray:
        """multiarray._reconstruct; the array's state follows."""
        return NumpyArray()

    def numpy_buffer(self, data: Any, kind: Any, shape: Any, order: Any) -> NumpyArray:
        """numeric._frombuffer, by which protocol 5 has arrays."""
        return NumpyArray(shape, kind, order == "F", data)


PATHS = "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath"
INERT = {
    "argparse": "Namespace",
    "builtins": "set frozenset list tuple int float str bool bytearray complex object slice range long xrange",
    "collections": "deque",
    "copyreg": "_reconstructor", "copy_reg": "_reconstructor",  # objects of classes, before protocol 2
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal", "fractions": "Fraction", "uuid": "UUID",
    "pathlib": PATHS, "pathlib._local": PATHS,
    "typing": "Any",
    # settings
    "addict.addict": "Dict", "easydict": "EasyDict", "yacs.config": "CfgNode",
    "omegaconf.base": "ContainerMetadata Metadata", "omegaconf.dictconfig": "DictConfig", "omegaconf.listconfig": "ListConfig",
    "omegaconf.nodes": "AnyNode StringNode IntegerNode FloatNode BooleanNode BytesNode PathNode EnumNode",
    "pytorch_lightning.utilities.parsing": "AttributeDict", "lightning_fabric.utilities.data": "AttributeDict",
    "lightning.fabric.utilities.data": "AttributeDict",
    # states of random generators
    "random": "Random", "numpy.random._pickle": "__randomstate_ctor __generator_ctor __bit_generator_ctor",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence", "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM", "numpy.random._philox": "Philox", "numpy.random._sfc64": "SFC64",
    "numpy": "ndarray", "numpy.core.multiarray": "scalar",
    "torch": "device Tensor", "torch.serialization": "_get_layout",
    "torch.jit._pickle": "restore_type_tag build_intlist build_doublelist build_boollist build_tensorlist",
}
"""Names, by modules, that no tensor is made of and that do no harm; another one ends the reading."""

SCRIPTED = "__torch__."
"""How the names of a TorchScript archive's own classes begin. Their code is not looked at."""
MODULE = Call("a TorchScript class", Machine.module)
CALLS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("collections.OrderedDict", "collections.defaultdict", "collections.Counter", "builtins.dict"),
                    Machine.mapping),
    **dict.fromkeys(("torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer", "torch._utils._rebuild_parameter",
                     "torch._utils._rebuild_parameter_with_state", "torch.autograd.variable.Variable"), Machine.parameter),
    "_codecs.encode": Machine.encode,
    "builtins.bytes": Machine.no_bytes,
    "torch.Size": Machine.size,
    "torch.storage._load_from_bytes": Machine.storage,
    "torch._utils._rebuild_tensor": Machine.tensor,
    "torch._utils._rebuild_tensor_v2": Machine.tensor,
    "torch._utils._rebuild_tensor_v3": Machine.tensor_of_dtype,
    "torch._tensor._rebuild_from_type_v2": Machine.tensor_with_attributes,
    "torch._utils._rebuild_qtensor": Machine.quantised,
    "torch._utils._rebuild_sparse_tensor": Machine.sparse,
    "torch._utils._rebuild_meta_tensor_no_storage": Machine.meta,
    "numpy.dtype": Machine.numpy_type,
    "numpy.core.multiarray._reconstruct": Machine.numpy_array,
    "numpy.core.numeric._frombuffer": Machine.numpy_buffer,
}
NAMES: dict[str, Call | Kind | object] = {
    **{name: Call(name, None) for module, names in INERT.items() for name in (f"{module}.{n}" for n in names.split())},
    **{name: Call(name, function) for name, function in CALLS.items()},
    **{f"torch.{name}": kind for name, kind in DTYPES.items()},
    **{f"{module}.{name}": DTYPES[dtype] for module in ("torch", "torch.cuda", "torch.storage")
       for name, dtype in STORAGES.items()},
    # what stands for the way a tensor is quantised
    **dict.fromkeys(("torch.per_tensor_affine", "torch.per_tensor_symmetric", "torch.per_channel_affine",
                     "torch.per_channel_symmetric", "torch.per_channel_affine_float_qparams"), OTHER),
}
