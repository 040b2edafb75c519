"""Values that a thread draws ahead of those who use them."""
from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Value = TypeVar("Value")


def ahead(values: Iterable[Value], count: int = 2) -> Generator[Value, None, None]:
    """Give the values in their order, while one thread draws up to `count` of those that follow.

    An error of `values` is raised at its place in the order. Closing the iterator, or an error or interrupt of who uses
    it, stops the thread after the value at hand.
    """
    source, end = iter(values), object()
    drawn: deque[Future] = deque()
    with ThreadPoolExecutor(1) as thread:
        drawn.extend(thread.submit(next, source, end) for _ in range(count))
        try:
            while (value := drawn.popleft().result()) is not end:
                drawn.append(thread.submit(next, source, end))
                yield value
        finally:
            for future in drawn:
                future.cancel()
