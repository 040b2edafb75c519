"""Values drawn ahead: their order, the thread that draws them, and how it ends."""
import threading
import time
from itertools import count

import pytest

from wvad_core.data.prefetch import ahead


class Source:
    """Counts upwards without end, and notes in which thread."""

    def __init__(self, failing=None, seconds=0.0):
        self.numbers, self.threads, self.failing, self.seconds = count(), [], failing, seconds

    def __iter__(self):
        return self

    def __next__(self):
        number = next(self.numbers)
        time.sleep(self.seconds)
        self.threads.append(threading.current_thread())
        if number == self.failing:
            raise OSError(f"value {number} is gone")
        return number

    def wait_for(self, values):
        """Until so many are drawn, or never will be."""
        for _ in range(6000):
            if len(self.threads) < values:
                time.sleep(0.01)

    def ended(self):
        return not any(thread.is_alive() for thread in self.threads)


@pytest.mark.parametrize("number", [0, 1, 2, 9])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_all_values_in_their_order(number, depth):
    assert list(ahead(range(number), depth)) == list(range(number))


def test_one_other_thread_draws_so_many_ahead_and_no_more():
    source = Source()
    given = ahead(source, 3)
    for number in range(4):
        assert next(given) == number
        source.wait_for(number + 4)
        time.sleep(0.01)  # for one too many to show
        assert len(source.threads) == number + 4
    given.close()
    assert source.ended() and len(set(source.threads)) == 1 and source.threads[0] is not threading.current_thread()


def test_values_not_yet_drawn_are_dropped_at_the_end():
    source = Source(seconds=0.01)
    given = ahead(source, 200)
    next(given)
    given.close()
    assert len(source.threads) < 200 and source.ended()


@pytest.mark.parametrize("failing", [0, 1, 5])
def test_errors_come_through_at_their_place(failing):
    source, given = Source(failing), []
    with pytest.raises(OSError, match=f"value {failing} is gone"):
        for value in ahead(source):
            given.append(value)
    assert given == list(range(failing)) and source.ended()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_who_stops_early_stops_the_thread(error):
    source = Source()
    given = ahead(source)
    with pytest.raises(error):
        assert next(given) == 0
        given.throw(error)
    assert source.ended() and len(source.threads) <= 3


def test_nothing_is_drawn_before_the_first_is_asked_for():
    source = Source()
    ahead(source).close()
    assert not source.threads
