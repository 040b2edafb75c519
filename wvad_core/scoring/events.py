"""Events: the stretches of a video that a detector takes for anomalous, and the messages that tell of them.

By a threshold (high, low, minimum, gap), with scores s_t of the snippets t and times from e_t to e_{t+1}:

    1. runs of snippets with s_t >= low, as long as they are, of which one has s_t >= high (hysteresis);
    2. those with at most `gap` seconds between them are one, what lies between them included;
    3. those that last at least `minimum` seconds are the events.

`find_events` sees a whole video at once; `EventTracker` gets one snippet after the other and says what begins, changes
and ends, as network video recorders do. Both find the same events.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..checkpoints.threshold import Threshold

Array = np.ndarray
NORMAL = "Normal"
"""The class that no event is of."""


@dataclass(frozen=True)
class Event:
    """A stretch of a video.

    first, last: its first snippet and the one behind its last, first < last. start, end: seconds, those of these snippets.
    peak: its highest score. peak_snippet: the first that has it. peak_time: the middle of that one, in seconds.
    class_name: of the classes of anomalies the one of the largest mean probability in it; None where there are none.
    probability: that mean.
    """
    first: int
    last: int
    start: float
    end: float
    peak: float
    peak_snippet: int
    peak_time: float
    class_name: str | None = None
    probability: float | None = None


def find_events(scores: Array, times: Array, threshold: Threshold,
                classes: Mapping[str, Array] | None = None) -> tuple[Event, ...]:
    """The events of a video, in their order.

    scores: (T,). times: (T + 1,) seconds, rising: where each snippet begins, and where the last one ends.
    classes: {name: (T,) probabilities}.
    """
    scores = np.asarray(scores, np.float64)  # a float32 and a float are compared otherwise in NumPy 1 and 2
    stretches = [stretch for stretch in _runs(scores >= threshold.low) if scores[slice(*stretch)].max() >= threshold.high]
    joined: list[tuple[int, int]] = []
    for first, last in stretches:
        if joined and times[first] - times[joined[-1][1]] <= threshold.gap:
            first = joined.pop()[0]
        joined.append((first, last))
    return tuple(_event(first, last, scores, times, classes or {}) for first, last in joined
                 if times[last] - times[first] >= threshold.minimum)


def _runs(mask: Array) -> list[tuple[int, int]]:
    """The runs of true values, [first, last)."""
    edges = np.flatnonzero(np.diff(np.asarray(mask, np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


def _event(first: int, last: int, scores: Array, times: Array, classes: Mapping[str, Array]) -> Event:
    peak = first + int(scores[first:last].argmax())
    means = {name: float(np.mean(values[first:last], dtype=np.float64)) for name, values in classes.items() if name != NORMAL}
    name = max(means, key=means.__getitem__, default=None)
    return Event(first, last, float(times[first]), float(times[last]), float(scores[peak]), peak,
                 float(times[peak] + times[peak + 1]) / 2, name, None if name is None else means[name])


@dataclass(frozen=True)
class Message:
    """What is told of an event: it is new, has changed (a longer one with a higher peak, or another class), or has ended.

    type: "new", "update" or "end". id: the same in all messages of an event, and in all runs over the same scores.
    video: its name. event: as it is known so far.
    """
    type: str
    id: str
    video: str
    event: Event

    def as_dict(self) -> dict[str, Any]:
        """A line of JSON."""
        return {"type": self.type, "id": self.id, "video": self.video, **asdict(self.event)}


def event_id(video: str, event: Event) -> str:
    """The video's name and the event's first snippet."""
    return f"{video}-{event.first:06d}"


class EventTracker:
    """The messages of a video whose snippets come one by one; it remembers no more than an event at hand.

    video: its name. classes: the names of the class probabilities that `push` gets.

        tracker = EventTracker("gate", threshold)
        for score, start, end in ...:
            for message in tracker.push(score, start, end):
                print(json.dumps(message.as_dict()))
        tracker.finish()        # the messages of what has not ended before
    """

    def __init__(self, video: str, threshold: Threshold, classes: Sequence[str] = ()):
        self.video, self.threshold, self.classes = video, threshold, classes
        self._snippets, self._sums = 0, np.zeros(len(classes))
        self._held: _Stretch | None = None  # has reached `high`; may end, or go on
        self._run: _Stretch | None = None   # what is at or above `low` and not part of `_held`, which it may yet join
        self._told: Event | None = None

    def push(self, score: float, start: float, end: float, probabilities: Sequence[float] = ()) -> list[Message]:
        """Take the next snippet: its score, its start and end in seconds, its class probabilities."""
        snippet = self._taken(float(score), start, end, probabilities)
        ended = self._ended() if self._held and start - self._held.end > self.threshold.gap and not self._run else []
        if score < self.threshold.low:
            self._run = None
            if self._held and end - self._held.end > self.threshold.gap:
                ended = self._ended()
            return ended
        if self._held and self._held.last == snippet.first:
            self._held = self._held.joined(snippet)
        else:
            self._run = self._run.joined(snippet) if self._run else snippet
            if self._run.peak >= self.threshold.high:
                self._held, self._run = self._held.joined(self._run) if self._held else self._run, None
        return ended + self._changed()

    def finish(self) -> list[Message]:
        """There are no more snippets."""
        self._run = None
        return self._ended() if self._held else []

    def _taken(self, score: float, start: float, end: float, probabilities: Sequence[float]) -> _Stretch:
        before, index = self._sums, self._snippets
        self._sums, self._snippets = before + np.asarray(probabilities, np.float64), index + 1
        return _Stretch(index, index + 1, start, end, score, index, (start + end) / 2, before, self._sums)

    def _changed(self) -> list[Message]:
        if self._held is None or self._held.end - self._held.start < self.threshold.minimum:
            return []
        event, before = self._held.event(self.classes), self._told
        if before and event.peak == before.peak and event.class_name == before.class_name:
            return []
        self._told = event
        return [self._message("update" if before else "new", event)]

    def _ended(self) -> list[Message]:
        assert self._held is not None
        messages = [self._message("end", self._held.event(self.classes))] if self._told else []
        self._held = self._told = None
        return messages

    def _message(self, kind: str, event: Event) -> Message:
        return Message(kind, event_id(self.video, event), self.video, event)


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Snippets [first, last) so far, as of an Event. before, after: the sums of all class probabilities of the video up to its
    start, and to its end."""
    first: int
    last: int
    start: float
    end: float
    peak: float
    peak_snippet: int
    peak_time: float
    before: Array
    after: Array

    def joined(self, later: _Stretch) -> _Stretch:
        """With all snippets up to the end of a later stretch."""
        higher = later if later.peak > self.peak else self
        return replace(self, last=later.last, end=later.end, after=later.after, peak=higher.peak,
                       peak_snippet=higher.peak_snippet, peak_time=higher.peak_time)

    def event(self, classes: Sequence[str]) -> Event:
        means = zip(classes, ((self.after - self.before) / (self.last - self.first)).tolist())
        name, probability = max(((name, mean) for name, mean in means if name != NORMAL), key=lambda pair: pair[1],
                                default=(None, None))
        return Event(self.first, self.last, self.start, self.end, self.peak, self.peak_snippet, self.peak_time, name, probability)


def messages(video: str, scores: Array, times: Array, threshold: Threshold,
             classes: Mapping[str, Array] | None = None) -> list[Message]:
    """Those of a whole video, as `find_events` has it."""
    tracker = EventTracker(video, threshold, tuple(classes or {}))
    rows = np.stack(list(classes.values()), axis=1) if classes else np.zeros((len(scores), 0))
    told = [message for score, start, end, row in zip(scores, times, times[1:], rows)
            for message in tracker.push(float(score), float(start), float(end), row)]
    return told + tracker.finish()
