"""Finds the models, in this package and in others: what a specification module offers, and which backend has its network."""
from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from .blocks import configuration, tensors
from .blocks.clips import ClipSizes
from .errors import InputError, did_you_mean, one_line
from .installed import entry_points

Tensors = Mapping[str, np.ndarray]
PACKAGE = __name__.rpartition(".")[0]
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TOGETHER = (("classify", "classes"), ("stages", "next_stage"), ("next_stage", "stages"))
"""Parts of a specification of which the first is nothing without the second."""


@dataclass(frozen=True)
class Published:
    """The tensors of a published checkpoint.

    names: {published name: canonical name}, one to one.
    optional: published names that some releases lack; they then stand for zeros.
    unused: published names that the published network stores and never uses; they are dropped. unused_parts: prefixes of
        names that it never uses, whatever they are.
    parts: canonical prefixes of parts that are published in files of their own. A part that is absent keeps its fresh
        weights, where another one is there. training_parts: those of them that scores do without.
    """
    names: dict[str, str]
    optional: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    unused_parts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    training_parts: tuple[str, ...] = ()

    def drops(self, name: str) -> bool:
        return name in self.unused or name.startswith(self.unused_parts)


@dataclass(frozen=True)
class Paper:
    """Where a method was published. results: {dataset: {metric: percent}}, the authors' own."""
    title: str
    authors: str
    year: int
    link: str
    results: Mapping[str, Mapping[str, float]]


@dataclass(eq=False, kw_only=True)
class Specification:
    """What the specification module of any model offers: `wvad_core.methods` says what each part is.

    Parts without a default are required. module: the one that they are from. KIND: what a model of the kind is called,
    LABEL: what its name is the name of; OUTPUT: what it computes, in words; CONFIG: what its Config is derived from.
    """
    KIND: ClassVar[str] = "model"
    LABEL: ClassVar[str] = "model"
    OUTPUT: ClassVar[str] = "outputs"
    CONFIG: ClassVar[type[configuration.Settings]] = configuration.Settings
    name: str
    module: ModuleType
    Config: type[Any]
    parameters: Callable[[Any], dict[str, tensors.Parameter]]
    forward: Callable[..., Any]
    published: Callable[[Any], Published] = None  # type: ignore[assignment]  # __post_init__ fills it
    infer: Callable[[Mapping[str, tuple[int, ...]]], Mapping[str, Any]] = lambda shapes: {}
    infer_names: Callable[[Iterable[str]], Mapping[str, Any]] = lambda names: {}
    PAPER: Paper | None = None
    RELEASES: Mapping[str, Callable[[Tensors], Tensors | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.published = self.published or self._under_canonical_names

    def _under_canonical_names(self, config: configuration.Settings) -> Published:
        return Published({name: name for name in self.parameters(config)})


@dataclass(eq=False, kw_only=True)
class MethodSpecification(Specification):
    """What the specification module of a method offers."""
    KIND, LABEL, OUTPUT, CONFIG = "detector", "method", "scores", configuration.Config
    losses: Callable[..., dict[str, Any]]
    loss_weights: Callable[[Any], Mapping[str, float]] = lambda config: {}
    PROBABILITIES: bool = True
    RECIPES: Mapping[str, Any] = field(default_factory=dict)
    PROTOCOLS: Mapping[str, Any] = field(default_factory=dict)
    DEMO: configuration.Config | None = None
    SAMPLERS: Mapping[str, Any] = field(default_factory=dict)
    COMPANIONS: tuple[str, ...] = ()
    memory: Callable[[Any], Any] = lambda config: None
    stages: Callable[[Any], tuple[Any, ...]] = lambda config: (config,)
    next_stage: Callable[..., dict[str, np.ndarray]] = None  # type: ignore[assignment]  # there where `stages` is
    postprocess: Callable[[np.ndarray, Any], np.ndarray] = lambda scores, config: scores
    classes: Callable[[Any], tuple[str, ...]] = lambda config: ()
    classify: Callable[..., np.ndarray] | None = None
    score_and_classify: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    deployed: Callable[[Tensors, Any], tuple[Tensors, Any]] = lambda weights, config: (weights, config)


@dataclass(eq=False, kw_only=True)
class ExtractorSpecification(Specification):
    """What the specification module of an extractor offers."""
    KIND, LABEL, OUTPUT, CONFIG = "extractor", "extractor", "features", configuration.ExtractorConfig
    clip_sizes: Callable[[Any], ClipSizes]


class Models:
    """The models of a kind, "methods" or "extractors": this package's, a module each, and those that other packages add.

    Another package has an entry point NAME = a specification module in the group `wvad.KIND`, and for a backend's network
    NAME = a module with `Network` in the group `wvad.KIND.BACKEND`. What is wrong with one is told when it is asked for; it
    keeps no other model from being found.
    """

    def __init__(self, kind: str, contract: type[Specification]):
        self.kind, self.contract, self.one, self.group = kind, contract, kind.removesuffix("s"), f"wvad.{kind}"
        self._read: dict[str, Specification] = {}

    def names(self) -> tuple[str, ...]:
        """All names, whether or not what they name can be imported."""
        return tuple(sorted({*self._modules(PACKAGE), *entry_points(group=self.group).names}))

    def check_name(self, name: str) -> None:
        """Raise InputError for a name that is none, with the one that comes near."""
        names = self.names()
        if name not in names:
            raise InputError(f"unknown {self.one} {name!r}{did_you_mean(name, names)}; the {self.kind} are {', '.join(names)}")

    def specification(self, name: str) -> Any:
        """The specification of a model by its name. Raises InputError for one that is unknown, or is none."""
        if name not in self._read:
            self.check_name(name)
            module, source = self._module(name, self.group, PACKAGE)
            self._read[name] = self._checked(name, module, source)
        return self._read[name]

    def usable(self) -> Iterator[tuple[str, Any]]:
        """Every name with its specification, without those that cannot be imported or are none."""
        for name in self.names():
            try:
                yield name, self.specification(name)
            except InputError:
                continue

    def network_module(self, name: str, backend: str, package: str) -> ModuleType:
        """The module with a model's `Network` for a backend. package: the backend's, which has those of this library.

        Raises InputError where there is none.
        """
        self.check_name(name)
        group = f"{self.group}.{backend}"
        if name not in self._modules(package) and name not in entry_points(group=group).names:
            raise InputError(f"{self.one} {name} has no network for the {backend} backend, expected an entry point {name} in "
                             f"the group {group}; the numpy backend runs the specification itself")
        module, source = self._module(name, group, package)
        if not hasattr(module, "Network"):
            raise InputError(f"{source}: module {module.__name__} lacks Network")
        return module

    def _modules(self, package: str) -> dict[str, str]:
        """{name of a model: name of its module} of those in a package."""
        folder = Path(sys.modules[package].__file__ or "").parent / self.kind
        return {module.name.replace("_", "-"): f"{package}.{self.kind}.{module.name}"
                for module in pkgutil.iter_modules([str(folder)])}

    def _module(self, name: str, group: str, package: str) -> tuple[ModuleType, str]:
        """The module of a model in a group or a package, one of which has it, and what to call it in messages."""
        own, entries = self._modules(package).get(name), list(entry_points(group=group, name=name))
        homes = [*([f"{package} itself"] if own else []), *(_distribution(entry) for entry in entries)]
        if len(homes) > 1:
            raise InputError(f"{self.one} {name} is in {' and in '.join(homes)} (group {group}), expected in one of them: "
                             "uninstall or rename the other")
        if own:
            return importlib.import_module(own), f"{self.one} {name}"
        source = f"{self.one} {name} (entry point {entries[0].name} = {entries[0].value} in {group} of {homes[0]})"
        if not NAME.fullmatch(name):
            raise InputError(f"{source}: its name has other characters than a-z, 0-9 and single hyphens")
        try:
            module = entries[0].load()
        except (Exception, SystemExit) as error:  # whatever another package's module raises
            raise InputError(f"{source} cannot be imported: {type(error).__name__}: {one_line(error)}") from error
        if not isinstance(module, ModuleType):
            raise InputError(f"{source}: a {type(module).__name__}, expected a module")
        return module, source

    def _checked(self, name: str, module: ModuleType, source: str) -> Specification:
        """What a module offers, with the defaults of what it does not. Raises InputError unless it is a specification."""
        parts = [part for part in fields(self.contract) if part.name not in ("name", "module")]
        offered = {part.name: getattr(module, part.name) for part in parts if hasattr(module, part.name)}
        missing = [part.name for part in parts if part.name not in offered
                   and part.default is MISSING and part.default_factory is MISSING]
        missing += [other for one, other in TOGETHER if one in offered and other not in offered]
        if missing:
            raise InputError(f"{source}: module {module.__name__} lacks {', '.join(missing)}")
        kind, base = offered["Config"], self.contract.CONFIG
        if not (isinstance(kind, type) and issubclass(kind, base) and kind.__module__ == module.__name__):
            raise InputError(f"{source}: Config of module {module.__name__}, expected a class of its own, derived from "
                             f"{base.__module__}.{base.__name__}")
        return self.contract(name=name, module=module, **offered)


def _distribution(entry: EntryPoint) -> str:
    """Name and version of the package that an entry point is of."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package without a name"


METHODS = Models("methods", MethodSpecification)
EXTRACTORS = Models("extractors", ExtractorSpecification)


def list_methods() -> tuple[str, ...]:
    """The names of the methods, as `create` takes them."""
    return METHODS.names()


def list_extractors() -> tuple[str, ...]:
    """The names of the extractors, as `create` takes them."""
    return EXTRACTORS.names()


def specification(method: str) -> MethodSpecification:
    """The specification of a method. Raises InputError for a name that is none, and a module that does not specify one."""
    return METHODS.specification(method)


def specifications() -> Iterator[tuple[str, MethodSpecification]]:
    """Every method with its specification, without those whose package is broken: they are told of by name alone."""
    return METHODS.usable()


def models_named(name: str) -> Models:
    """The kind of models that a name is of. Raises InputError for one that is none's, with the one that comes near."""
    kinds = (METHODS, EXTRACTORS)
    for kind in kinds:
        if name in kind.names():
            return kind
    near = next((kind for kind in kinds if did_you_mean(name, kind.names())), METHODS)
    near.check_name(name)
    return near


def model_specification(name: str) -> Specification:
    """The specification of a method or an extractor. Raises InputError as `specification`."""
    return models_named(name).specification(name)


def extractor_specification(name: str) -> ExtractorSpecification:
    """The specification of an extractor. Raises InputError as `specification`."""
    return EXTRACTORS.specification(name)


def extractors() -> Iterator[tuple[str, ExtractorSpecification]]:
    """Every extractor with its specification, without those whose package is broken."""
    return EXTRACTORS.usable()


def network_module(name: str, backend: str, package: str) -> ModuleType:
    """The module with a model's `Network` for a backend, whose `package` has those of this library's models.

    Raises InputError where the backend has no network for the model.
    """
    return models_named(name).network_module(name, backend, package)


def module_name(method: str) -> str:
    """The name of a method's module, the same in every backend of this library: with _ for -. Raises InputError."""
    METHODS.check_name(method)
    return method.replace("-", "_")


def memory_state(memory: Any) -> dict[str, Any]:
    """The state of a memory, or of None, under names of its own."""
    return {} if memory is None else {f"memory.{name}": value for name, value in memory.state().items()}


def restore_memory(memory: Any, state: Mapping[str, Any]) -> None:
    """Give a memory, or None, what `memory_state` found among other things. Raises InputError for what is not its own."""
    found = {name.removeprefix("memory."): value for name, value in state.items() if name.startswith("memory.")}
    if memory is None and found:
        raise InputError(f"{one_line(', '.join(found), 80)} of a memory, expected none of a method that remembers nothing")
    try:
        if memory is not None:
            memory.restore(found)
    except InputError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"the method's memory cannot be restored ({one_line(repr(error), 100)})") from error


def classes_of(config: Any) -> tuple[str, ...]:
    """The categories that a method of this configuration knows, as tables name them; () where it knows none.

    The configuration's class is of its specification's module, as it is for `first_weights`.
    """
    spec = sys.modules[type(config).__module__]
    return tuple(spec.classes(config)) if hasattr(spec, "classes") else ()


def clip_sizes_of(config: Any) -> ClipSizes:
    """The clips that an extractor of this configuration takes; the configuration's class is as for `classes_of`."""
    return sys.modules[type(config).__module__].clip_sizes(config)


def first_weights(config: Any, seed: int, given: Mapping[str, np.ndarray] | None) -> Mapping[str, np.ndarray]:
    """What a network of a configuration starts with, {canonical name: array}: fresh weights, or those that are given.

    The configuration's class is of its specification's module. Raises InputError where others are given than it has.
    """
    wanted = sys.modules[type(config).__module__].parameters(config)
    if given is None:
        return tensors.draw(wanted, seed)
    tensors.check(given, wanted, "weights")
    return given
