"""The state dict among what a PyTorch file holds: bare, or wrapped with optimisers, epochs and arguments.

- Candidates are the dicts that hold a tensor under text, among those reached from the top in at most three steps.
- Those on a path that says optimiser, scheduler or scaler are left out; those that say EMA, while others are left.
- The one that is left is wanted; of several, the one with the most tensors among those whose key says model (model,
  net, network, module, state, params, weights: `state_dict`, `netG`). Several that are equally good are an error.
- Of a TorchScript archive, whose top is a module, the tensors of all modules are wanted, by the path of attributes.
- A prefix that all its names have is removed: `module.` (DataParallel), `_orig_mod.` (torch.compile).
"""
from __future__ import annotations

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from ..unpickler.stand_ins import Module
from ..unpickler.storages import Refused, Stored

STEPS = 3
LONGEST = 500  # characters of a name
TRAINING = ("optim", "sched", "scaler")  # how words of keys begin
AVERAGE = "ema"
MODEL = frozenset({"model", "net", "network", "module", "state", "params", "parameters", "weights"})
PREFIXES = ("module.", "_orig_mod.")

Path = tuple[str, ...]
Tensor = TypeVar("Tensor")


def state_dict(top: Any) -> dict[str, Stored]:
    """{name: tensor} of the model. Raises Refused where there is none, or no telling which it is."""
    if isinstance(top, Module):
        return _named(_attributes(top))
    if not isinstance(top, dict):
        raise Refused(f"holds no dict but {_described(top)}, expected a state dict")
    found = _candidates(top)
    found = {path: tensors for path, tensors in found.items()
             if not any(word.startswith(TRAINING) for key in path for word in _words(key))}
    found = {path: tensors for path, tensors in found.items()
             if not any(AVERAGE in _words(key) for key in path)} or found
    if not found:
        raise Refused("holds no state dict: no dict of tensors by name, other than an optimiser's")
    return _named(_wanted(found))


def _candidates(top: dict[str, Any]) -> dict[Path, dict[str, Stored]]:
    """{path: tensors} of the dicts that hold tensors; each dict once, however many keys lead to it."""
    found, met, level = {}, {id(top)}, {(): top}
    for step in range(STEPS + 1):
        below = {}
        for path, content in level.items():
            tensors = {name: value for name, value in content.items() if isinstance(value, Stored)}
            if tensors:
                found[path] = tensors
            for key, value in content.items():
                if isinstance(value, dict) and id(value) not in met:
                    met.add(id(value))
                    below[(*path, key)] = value
        level = below
    return found


def _attributes(top: Module) -> dict[str, Stored]:
    """{path of attributes: tensor} of a module and those in it; each module once, however many attributes it is."""
    found: dict[str, Stored] = {}
    met, waiting = {id(top)}, deque([("", top)])
    while waiting:
        prefix, module = waiting.popleft()
        if len(prefix) > LONGEST:
            raise Refused(f"its modules lie in one another so deeply that names have more than {LONGEST} characters")
        found |= {prefix + name: value for name, value in module.items() if isinstance(value, Stored)}
        for name, value in module.items():
            if isinstance(value, Module) and id(value) not in met:
                met.add(id(value))
                waiting.append((f"{prefix}{name}.", value))
    if not found:
        raise Refused("a TorchScript archive whose modules hold no tensors")
    return found


def _words(key: str) -> list[str]:
    """model_state_dict -> model, state, dict; netG -> net, g"""
    return [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", key[:LONGEST])]


def _wanted(found: dict[Path, dict[str, Stored]]) -> dict[str, Stored]:
    if len(found) > 1:
        named = {path: tensors for path, tensors in found.items() if path and MODEL & set(_words(path[-1]))}
        candidates = named or found
        most = max(map(len, candidates.values()))
        best = {path: tensors for path, tensors in candidates.items() if len(tensors) == most or not named}
        if len(best) > 1:
            lines = [f"{'.'.join(path) or 'the top'} ({len(tensors)} tensors)" for path, tensors in best.items()]
            raise Refused(f"holds {len(best)} dicts of tensors, expected one, or one that its key says is the model's: "
                          f"{', '.join(lines)}")
        found = best
    return next(iter(found.values()))


def _named(tensors: dict[str, Stored]) -> dict[str, Stored]:
    for name in tensors:
        if len(name) > LONGEST or not name.isprintable():
            raise Refused(f"a tensor has the name {ascii(name[:50])}, expected at most {LONGEST} printable characters")
    return without_prefixes(tensors)


def without_prefixes(tensors: Mapping[str, Tensor], besides: Iterable[str] = ()) -> dict[str, Tensor]:
    """The tensors without the PREFIXES that all names have but those `besides`."""
    found = dict(tensors)
    while prefix := next((p for p in PREFIXES if _is_before_all(p, found.keys() - besides)), None):
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _is_before_all(prefix: str, names: Collection[str]) -> bool:
    return bool(names) and all(name.startswith(prefix) and name != prefix for name in names)


def _described(value: Any) -> str:
    if isinstance(value, Stored):
        return "one tensor without a name"
    return f"a {type(value).__name__}" if isinstance(value, (list, tuple, str, int, float)) else "something else"
