"""What a checkpoint file is: its model, its configuration, and its tensors under their canonical names."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...blocks.configuration import Config, configure
from ...blocks.tensors import COUNTER, check
from ...errors import InputError, listing
from ...origin import Origin, from_metadata
from ...registry import Specification, extractors, list_extractors, list_methods, model_specification, specifications
from .. import assumed, threshold
from ..assumed import Assumed
from ..contents import Contents, description, is_hashed
from ..threshold import Threshold
from .fitting import Candidate, aligned, candidates, check_plausible, nothing_fits, without
from .naming import CANONICAL, PUBLISHED, absent_parts, as_computed, canonical, check_numbers, naming, of_other_releases
from .sizes import Solution, solve

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """weights: {canonical name: array}, in the file's dtypes. described: whether the file itself says what it is.

    names: whose names its tensors have, CANONICAL, PUBLISHED or a key of RELEASES, behind `prefix`. dropped: tensors of the file that the
    network does not use. assumed: what neither metadata nor tensors show and nobody gave, and the weights that the file
    lacks, as a release may: a part that is published in a file of its own has fresh weights. Counters of training forwards
    that it lacks begin at 0, and are not listed. absent: the parts it lacks that scores are computed from.
    threshold: that of a calibrated detector, unless settings are given that change its scores. origin: that of the features
    that a detector was trained on, where the file says it.
    """
    method: str
    config: Config
    weights: dict[str, Array]
    described: bool
    names: str = CANONICAL
    prefix: str = ""
    dropped: tuple[str, ...] = ()
    assumed: Assumed = Assumed()
    absent: tuple[str, ...] = ()
    threshold: Threshold | None = None
    origin: Origin | None = None

    def check_whole(self, source: str, allow_fresh: bool) -> None:
        """Raise InputError where scores would be random and that is not allowed."""
        if self.absent and not allow_fresh:
            parts = ", ".join(part.rstrip(".") for part in self.absent)
            output = model_specification(self.method).OUTPUT
            raise InputError(f"{source}: has no tensors of {parts}, without which the {output} of {self.method} are random; to "
                             "train further, allow_fresh=True (--allow-fresh) draws them")


def identify(contents: Contents, source: str, method: str | None = None, given: Mapping[str, Any] | None = None,
             seed: int = 0) -> Checkpoint:
    """Say what a file holds: by its metadata; where it has none of this library's, by its tensors.

    method, given: the method and settings where they are known; they must agree with the file. seed: of the weights of
    a part that is published in a file of its own and is not there. Raises InputError where nothing fits, where more
    than one detector does, and where the tensors are not those that the metadata says.
    """
    given = dict(given or {})
    found = description(contents, source)
    if found is None:
        return _by_tensors(contents.tensors, source, method, given, seed)
    if method not in (None, found[0]):
        raise InputError(f"{source}: a checkpoint of method {found[0]}, expected {method}")
    known = (*list_methods(), *list_extractors())
    if found[0] not in known:
        raise InputError(f"{source}: a checkpoint of method {found[0]}, expected one of {', '.join(known)}")
    spec = model_specification(found[0])
    try:
        config = configure(spec.Config, found[1] | given, found[0])
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    check_plausible(spec, vars(config), contents.tensors, source)
    check(contents.tensors, spec.parameters(config), source)
    check_numbers(contents.tensors, spec.parameters(config), source)
    return Checkpoint(found[0], config, contents.tensors, described=True,
                      assumed=_described(contents, config, {*found[1]}, given, spec, source),
                      threshold=_threshold(contents, config, found[1], given, source),
                      origin=from_metadata(contents.metadata, source) if is_hashed(contents.metadata) else None)


def _threshold(contents: Contents, config: Config, written: Mapping[str, Any], given: Mapping[str, Any],
               source: str) -> Threshold | None:
    """The threshold that the metadata have, where the scores are those that it was chosen by."""
    found = threshold.read(contents.metadata, source)
    as_written = configure(type(config), {**config.as_dict(), **written}, source)
    changed = [name for name in given if name not in config.training_only and getattr(config, name) != getattr(as_written, name)]
    return None if changed else found


def _described(contents: Contents, config: Config, written: set[str], given: Mapping[str, Any], spec: Specification,
               source: str) -> Assumed:
    """What the metadata say was assumed, and the settings that they lack, as those of an earlier version may; and those that
    might have been altered, where their hash does not cover them."""
    found = assumed.read(contents.metadata, config, given, source)
    lacking = {name: value for name, value in config.as_dict().items() if name not in written | {*given}}
    scored = *found.scored, *(name for name in lacking if name not in config.training_only)
    unverified: tuple[str, ...] = ()
    if not is_hashed(contents.metadata):
        hidden = solve(spec, config, given, {name: np.shape(value) for name, value in contents.tensors.items()}).by_default
        unverified = tuple(name for name in hidden if name in written - {*given, *config.training_only})
    return replace(found, settings=found.settings | lacking, scored=scored, unverified=unverified)


def _by_tensors(tensors: Mapping[str, Array], source: str, method: str | None, given: dict[str, Any],
                seed: int, turned: bool = False) -> Checkpoint:
    """turned: whether the tensors are those of another release already, which no release is turned into again."""
    if not tensors:
        raise InputError(f"{source}: it has no tensors")
    first = [*specifications()] if method is None else [(method, model_specification(method))]
    tried = list(candidates(first, tensors, method, given, source))
    fitting = _fitting(tried, tensors)
    if not fitting and method is None:
        tried += candidates(extractors(), tensors, method, given, source)
        fitting = _fitting(tried, tensors)
    if not fitting and not turned:
        for name, spec in (*first, *(extractors() if method is None else ())):
            for release, state in of_other_releases(spec, tensors):
                return replace(_by_tensors(state, source, name, given, seed, turned=True), names=release)
    if not fitting:
        raise InputError(f"{source}: {nothing_fits(tensors, given, tried)}")
    if len(fitting) > 1:
        fitting = _simplest_first(fitting, tensors, source)
    found, *others = fitting
    solution = found.solution
    if solution.unsettled:
        raise InputError(f"{source}: the tensors are those of {found.method}, but leave settings open; choose\n  "
                         + listing(list(solution.unsettled)))
    whole = _whole(found, tensors, source, seed)
    return replace(whole, assumed=replace(whole.assumed, alternatives=tuple(map(str, others))))


def _fitting(tried: Sequence[Candidate], tensors: Mapping[str, Array]) -> list[Candidate]:
    return _different(_best([candidate for candidate in tried if not candidate.wrong]), tensors)


def _different(fitting: Sequence[Candidate], tensors: Mapping[str, Array]) -> list[Candidate]:
    """Those that differ in method, configuration or weights: a file's names may be two kinds at once, behind a prefix."""
    found: dict[tuple, Candidate] = {}
    for candidate in fitting:
        spec, config = model_specification(candidate.method), candidate.solution.config
        names = naming(spec, config, candidate.names).names
        renamed = tuple(names.get(name.removeprefix(candidate.prefix)) for name in tensors)
        found.setdefault((candidate.method, str(config), renamed), candidate)
    return list(found.values())


def _simplest_first(fitting: Sequence[Candidate], tensors: Mapping[str, Array], source: str) -> list[Candidate]:
    """Candidates whose scores are the same, the one with the fewest settings first. Raises InputError where they are not."""
    def settings(candidate: Candidate) -> tuple[int, int]:
        return str(candidate).count("="), len(dataclasses.fields(candidate.solution.config))

    ordered = sorted(fitting, key=settings)
    if not any(c.solution.unsettled for c in fitting) and settings(ordered[0]) < settings(ordered[1]):
        first, *others = (_scores(_whole(candidate, tensors, source, 0)) for candidate in ordered)
        if first is not None and all(np.array_equal(first, other) for other in others):
            return ordered
    raise InputError(f"{source}: the names and shapes of the tensors are those of more than one detector, whose scores "
                     "differ; choose by method and settings\n  " + listing([str(candidate) for candidate in fitting]))


def _scores(found: Checkpoint) -> Array | None:
    """The scores of two random crops; None where the model takes none: an extractor, or without more behind them."""
    from ...blocks.tensors import Scope  # slow to import, and rarely needed

    spec = model_specification(found.method)
    if not isinstance(found.config, Config):
        return None
    weights = as_computed(found.weights, spec.parameters(found.config))
    crops = np.random.default_rng(0).random((1, 2, 5, found.config.feature_dim), np.float32)
    try:
        return spec.forward(crops, Scope(weights), found.config)
    except InputError:
        return None


def of_published(method: str, config: Config, state: Mapping[str, Array], given: Mapping[str, Any], source: str,
                 seed: int = 0) -> Checkpoint:
    """The checkpoint that the tensors of a published one are, {published name: array}, in this configuration.

    given: the settings that are known, the others of it are assumed. Raises InputError unless the tensors fit.
    """
    spec = model_specification(method)
    names, wanted = spec.published(config), spec.parameters(config)
    _, state = next(of_other_releases(spec, state), ("", state))
    check(canonical(state, names, wanted, seed), wanted, source)
    shapes = {names.names[n]: aligned(np.shape(v), len(wanted[names.names[n]].shape)) for n, v in state.items()
              if n in names.names}
    by_default = solve(spec, config, given, shapes).by_default
    found = Candidate(method, PUBLISHED, "", Solution(config, by_default), (),
                      tuple(name for name in state if names.drops(name)))
    return _whole(found, state, source, seed)


def _whole(found: Candidate, tensors: Mapping[str, Array], source: str, seed: int) -> Checkpoint:
    """A candidate that fits with its weights, those that the file lacks included."""
    spec, config, state = model_specification(found.method), found.solution.config, without(found.prefix, tensors)
    wanted, published = spec.parameters(config), naming(spec, config, found.names)
    weights = canonical(state, published, wanted, seed)
    check_numbers(weights, wanted, source)
    added = set(wanted) - {published.names[name] for name in state if name in published.names}
    parts = absent_parts(state, published)
    fresh = tuple(name for name in wanted if name in added and parts and name.startswith(parts))
    zeros = tuple(n for n in wanted if n in added and n not in fresh and not n.endswith(COUNTER))
    by_default = {name: value for name, value in config.as_dict().items() if name in found.solution.by_default}
    scored = *(name for name in by_default if name not in config.training_only), *(
        name for name in zeros + fresh if not (published.training_parts and name.startswith(published.training_parts)))
    return Checkpoint(found.method, config, {name: weights[name] for name in wanted}, False, found.names, found.prefix,
                      found.dropped, Assumed(by_default, zeros, fresh, scored=scored),
                      tuple(part for part in parts if part not in published.training_parts))


def _best(fitting: Sequence[Candidate]) -> list[Candidate]:
    """Of each method's candidates those that use most of the file."""
    least = {c.method: min(len(other.dropped) for other in fitting if other.method == c.method) for c in fitting}
    return [candidate for candidate in fitting if len(candidate.dropped) == least[candidate.method]]
