"""Ways of drawing: what an epoch has, what is dropped, how often each video and each pair comes."""
import itertools

import numpy as np
import pytest
from scipy import stats

from wvad_core.data.draws import DRAWS, Epochs

NORMAL, ABNORMAL = np.arange(0, 13), np.arange(100, 111)
GROUPS = [NORMAL, ABNORMAL]


def take(draw: str, groups, size: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    """(steps, size) of each group."""
    return [np.stack(of) for of in zip(*(DRAWS[draw](groups, size, step, seed) for step in range(steps)))]


def test_file_order_is_that_of_the_list_and_short_last_batches_are_dropped():
    """13 and 11 videos, 3 a step: three steps an epoch; the same partners meet in every epoch."""
    normal, abnormal = take("file-order", GROUPS, 3, 7)
    expected = [[0, 1, 2], [3, 4, 5], [6, 7, 8]] * 2 + [[0, 1, 2]]
    assert normal.tolist() == expected and (abnormal - 100).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11])
def test_epochs_begin_together_shuffled_apart(size):
    steps = 11 // size
    found = take("epochs", GROUPS, size, 40 * steps)
    for group, of in zip(GROUPS, found):
        epochs = of.reshape(40, -1)
        assert all(len(set(epoch)) == steps * size and set(epoch) <= set(group) for epoch in epochs.tolist())
        assert len(np.unique(epochs, axis=0)) > 1, "every epoch is shuffled anew"
    same = (found[0].ravel() == found[1].ravel() - 100).mean()
    assert same < 0.25, "the order of one group says nothing of the other's"


def test_what_epochs_drop_is_another_video_each_time():
    of = take("epochs", [ABNORMAL], 4, 2 * 4000)[0].reshape(4000, 8) - 100
    counts = np.bincount(of.ravel(), minlength=11)
    assert np.abs(counts / 4000 - 8 / 11).max() < 0.03
    assert stats.chisquare(np.bincount(of[:, 0], minlength=11)).pvalue > 1e-4


def test_epochs_with_the_rest_have_every_video_once():
    for epoch in range(5):
        steps = [DRAWS["epochs-with-rest"]([NORMAL], 4, 4 * epoch + step, 7)[0].tolist() for step in range(4)]
        assert [len(step) for step in steps] == [4, 4, 4, 1]
        assert sorted(itertools.chain(*steps)) == NORMAL.tolist()
    assert Epochs(rest=True).steps([NORMAL], 13) == 1 and Epochs(rest=True).steps([NORMAL], 14) == 1
    assert Epochs().steps([NORMAL], 4) == 3 and Epochs().steps(GROUPS, 4) == 2


def test_afresh_is_uniform_and_without_replacement_within_a_step():
    of = take("afresh", [NORMAL], 5, 4000)[0]
    assert all(len(set(step)) == 5 for step in of.tolist())
    assert all(stats.chisquare(np.bincount(column, minlength=13)).pvalue > 1e-4 for column in of.T)
    again = np.mean([len(set(one) & set(other)) for one, other in zip(of[:-1].tolist(), of[1:].tolist())])
    assert abs(again - 5 * 5 / 13) < 0.1, "what a step drew says nothing of the next one"


def test_afresh_draws_the_groups_apart():
    normal, other = take("afresh", [NORMAL, NORMAL], 5, 2000)
    assert abs((normal == other).mean() - 1 / 13) < 0.02


@pytest.mark.parametrize("draw", DRAWS)
def test_the_seed_decides_and_steps_may_be_asked_for_in_any_order(draw):
    groups = [NORMAL] if draw == "epochs-with-rest" else GROUPS
    runs = [[[of.tolist() for of in DRAWS[draw](groups, 4, step, seed)] for step in range(20)] for seed in (1, 1, 2)]
    assert runs[0] == runs[1] and (runs[0] == runs[2]) == (draw == "file-order")
    assert [[of.tolist() for of in DRAWS[draw](groups, 4, step, 1)] for step in reversed(range(20))] == runs[0][::-1]
