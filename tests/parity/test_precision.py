"""bf16 on the CPU: scores within 2 % and AUC within 0.001 of float32, on the demo set."""
import numpy as np
import pytest

import wvad_core as wv
from compare import error
from wvad_core.data import demo
from wvad_core.methods import specification


@pytest.mark.needs("torch")
@pytest.mark.parametrize("method", wv.methods())
def test_bf16_on_the_demo_set(method):
    layout = specification(method).Config.layout
    dataset = wv.data.Dataset.open("demo", demo.demo_features(layout=layout))
    exact, reduced = (wv.evaluate(wv.load(demo.demo_checkpoint(method), "torch", "cpu", precision), dataset, replicates=1)
                      for precision in ("float32", "bf16"))
    scores = [np.concatenate([video.scores for video in report.videos]) for report in (reduced, exact)]
    assert 0 < error(*scores) < 0.02
    assert abs(reduced.metrics["auc"] - exact.metrics["auc"]) < 0.001
    assert (exact.about["precision"], reduced.about["precision"]) == ("float32", "bf16")


def test_an_unknown_precision_is_refused(backend):
    with pytest.raises(wv.InputError, match="'int8'"):
        wv.create("saa", backend=backend, precision="int8", feature_dim=8)
