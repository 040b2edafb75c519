"""MindSpore's networks as MindIR files."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mindspore as ms
from mindspore import Tensor, nn

from .any_length import for_any_length
from .network import ClipNetwork, VideoNetwork

MOST = 2**30   # bytes of weights: MindSpore writes more than that into a folder beside the file
CROPS = 10     # in front of the patches


class Scores(nn.Cell):
    """Features (N, T, D) -> scores (T,), as `backend.score`."""

    def __init__(self, network: VideoNetwork):
        super().__init__(auto_prefix=False)
        self.network, self.together = network, network.config.crops_together

    def construct(self, features: Tensor) -> Tensor:
        scores = self.network(features.expand_dims(0) if self.together else features).mean(0)
        return self.network.postprocess(scores)


def write(network: VideoNetwork | ClipNetwork, path: Path, metadata: Mapping[str, str]) -> None:
    """One file with the weights inside, for any T, and any N unless patches are among them.

    Raises NotImplementedError where MindSpore compiles no such graph.
    """
    if isinstance(network, ClipNetwork):
        raise NotImplementedError("its layers compute by NumPy between MindSpore's products; expected .onnx")
    config, size = network.config, sum(p.nbytes for p in network.get_parameters())
    if size > MOST:
        raise NotImplementedError(f"its weights take {size / 2**30:.1f} GiB, and a file without a folder beside it holds 1")
    crops = CROPS + config.patches if config.layout == "patches" else None
    features = Tensor(shape=[crops, None, config.feature_dim], dtype=ms.float32)
    try:
        ms.export(Scores(for_any_length(network)).set_train(False), features, file_name=str(path.with_suffix("")),
                  file_format="MINDIR", custom_func=lambda model: model.user_info.update(metadata))
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:  # what MindSpore's compiler raises
        raise NotImplementedError(str(error).strip().splitlines()[0]) from error
