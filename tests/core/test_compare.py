"""The helpers that compare must fail on wrong answers."""
import numpy as np
import pytest

from compare import assert_all_close, assert_close, assert_gradients_close

EXPECTED = np.arange(1.0, 7).reshape(2, 3)
WRONG = {"shifted": EXPECTED + 1e-3, "scaled": EXPECTED * (1 + 1e-3), "missing element": EXPECTED[:, :2],
         "transposed": EXPECTED.T, "flat": EXPECTED.ravel(), "nan": np.where(EXPECTED == 4, np.nan, EXPECTED),
         "infinite": np.where(EXPECTED == 4, np.inf, EXPECTED), "permuted": EXPECTED[::-1], "empty": np.empty(0)}


def test_equal_values_pass():
    assert_close(EXPECTED.copy(), EXPECTED, 1e-5)
    assert_close(EXPECTED * (1 + 1e-7), EXPECTED, 1e-5)
    assert_close(np.float32(1e-13), 0.0, 1e-5)
    assert_all_close({"a": EXPECTED, "b": np.float32(1)}, {"b": 1.0, "a": EXPECTED}, 1e-5)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_values_fail(wrong):
    with pytest.raises(AssertionError):
        assert_close(wrong, EXPECTED, 1e-5)
    with pytest.raises(AssertionError):
        assert_all_close({"a": EXPECTED, "b": wrong}, {"a": EXPECTED, "b": EXPECTED}, 1e-5)


def test_a_reference_with_nan_fails():
    with pytest.raises(AssertionError):
        assert_close(WRONG["nan"], WRONG["nan"], 1e-5)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "c"]])
def test_other_names_fail(names):
    with pytest.raises(AssertionError):
        assert_all_close({name: EXPECTED for name in names}, {"a": EXPECTED, "b": EXPECTED}, 1e-5)


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_wrong_gradients_fail(wrong):
    with pytest.raises(AssertionError):
        assert_gradients_close({"a": wrong, "b": EXPECTED}, {"a": EXPECTED, "b": EXPECTED})


def test_gradients_that_are_noise_are_compared_absolutely():
    noise = np.full(2, 1e-6)
    assert_gradients_close({"a": EXPECTED, "b": -noise}, {"a": EXPECTED, "b": noise})
    for wrong in (noise + 1e-3, noise * np.nan, noise[:1]):
        with pytest.raises(AssertionError):
            assert_gradients_close({"a": EXPECTED, "b": wrong}, {"a": EXPECTED, "b": noise})
    with pytest.raises(AssertionError):
        assert_gradients_close({"a": EXPECTED}, {"a": EXPECTED, "b": noise})
