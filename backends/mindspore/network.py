"""What all networks of this backend share."""
from __future__ import annotations

import numpy as np
from mindspore import Tensor, nn

from wvad_core.data.batches import Batch


class VideoNetwork(nn.Cell):
    """Base of the methods' networks: `network(features)` gives scores, `network.losses(batch)` the training terms.

    A method adds `terms(features)`: the loss terms of (2B, T, D) or (2B, N, T, D), normal videos first.
    """

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"total": ..., term: ...}, in the mode that the network is in."""
        return self.terms(Tensor(np.asarray(batch.normal_first(), np.float32)))

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError
