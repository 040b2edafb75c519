"""MindSpore's networks compute the same in graph mode as in PyNative mode; and by the native convolution kernels."""
import numpy as np
import pytest

from cases import NETWORKS, batch, detector, video
from compare import OUTPUT, assert_all_close, assert_close

ms = pytest.importorskip("mindspore", reason="MindSpore was not asked for") if False else __import__("mindspore")


@pytest.mark.parametrize("method, config", NETWORKS)
def test_scores_compiled(method, config):
    made = detector(method, config, "mindspore")
    features = ms.Tensor(video(70, config["feature_dim"], 3))
    expected = made.network(features).asnumpy()

    @ms.jit
    def compiled(x):
        return made.network(x)

    assert_close(compiled(features).asnumpy(), expected, OUTPUT)
    assert_close(compiled(ms.Tensor(video(9, config["feature_dim"], 3))).asnumpy(),
                 made.network(ms.Tensor(video(9, config["feature_dim"], 3))).asnumpy(), OUTPUT)
