"""How a method's scores become the numbers that are reported: by the library's protocol, or by that of its authors.

`uniform` is the library's, the same for all methods: a video is scored as `Detector.score` has it, by its settings as they are, all
crops averaged where the method takes more than one; each snippet stands for 16 frames, and the dataset's ground truth is drawn on
these. `published` is what a method's authors did to get the numbers of their paper, as PROTOCOLS of its specification says it.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .registry import specification, specifications

if TYPE_CHECKING:
    from .data.annotations import Video

Array = np.ndarray
NAMES = ("uniform", "published")
OWN_METRICS = ("auc", "ap", "false_alarm_rate")
"""What `Protocol.metrics` may name."""


@dataclass(frozen=True, eq=False)
class Protocol:
    """How authors evaluate their method, where that is not as the uniform protocol has it; Protocol() is that one.

    settings: {setting of the method's configuration: value} that they score with, such as one crop of several, one of two
        branches, a smoothing. They change no tensor.
    snippet_scores: function(score, features) -> (T,), of a video's features (N, T, D); None for score(features). `score`
        gives the detector's scores (S,) of features (N, S, D) of any S.
    frame_labels: function(video, T) -> (F,) bool, the frames that count, and which of them are abnormal, of a line of the
        dataset's table; None for the dataset's ground truth on 16 T frames. Frame f has the score of snippet
        min(f // 16, T - 1).
    metrics: {"auc", "ap" or "false_alarm_rate": function(labels, scores) -> float, or the name of a function of
        `wv.metrics`}, of those that they take in a way of their own; the report has them beside the library's. labels and
        scores are (F,), of all videos' frames end to end in the table's order, for "false_alarm_rate" of the normal
        videos'; without `frame_labels`, of snippets: labels are then fractions of 16 frames.
    note: in words, what differs, and what of theirs is not known, so that the library's way stands for it.

        PROTOCOLS = {"ucf-crime": Protocol({"test_crop": 5}, note="the crop 5 alone"), "": Protocol()}
    """
    settings: Mapping[str, Any] = field(default_factory=dict)
    snippet_scores: Callable[[Callable[[Array], Array], Array], Array] | None = None
    frame_labels: Callable[[Video, int], Array] | None = None
    metrics: Mapping[str, str | Callable[[Array, Array], float]] = field(default_factory=dict)
    note: str = ""


def protocol_of(method: str, dataset: str, protocol: str) -> Protocol:
    """A method's protocol on a dataset, of PROTOCOLS by its name; published ones that name no dataset are for all others.

    Raises InputError for a protocol that is none, and where the method says nothing of its authors'.
    """
    if protocol not in NAMES:
        raise InputError(f"unknown protocol {protocol!r}, expected {' or '.join(NAMES)}")
    if protocol == "uniform":
        return Protocol()
    known = specification(method).PROTOCOLS
    found = next((known[name] for name in (dataset, dataset.replace("_", "-"), "") if name in known), None)
    if found is None:
        raise InputError(f"{method}: its authors' protocol on {dataset} is not known"
                         + (f" (known: {', '.join(known)})" if known else "") + ", expected the uniform one")
    return found


def differences() -> list[tuple[str, str, str]]:
    """(method, dataset, in words what differs from the uniform protocol) of every protocol that a method's authors have.

    A dataset "" stands for all that have no row of their own.
    """
    return [(method, dataset, described(found)) for method, spec in specifications() for dataset, found in spec.PROTOCOLS.items()]


def described(protocol: Protocol) -> str:
    """What differs from the uniform protocol, in words."""
    words = [f"{name} = {value}" for name, value in protocol.settings.items()]
    words += [f"{name} by {function}" for name, function in protocol.metrics.items() if isinstance(function, str)]
    return "; ".join([*([protocol.note] if protocol.note else []), *words]) or "as the uniform protocol"
