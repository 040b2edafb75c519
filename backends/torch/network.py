"""What all networks of this backend share."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from wvad_core.data.batches import Batch


class VideoNetwork(nn.Module):
    """Base of the methods' networks: `network(features)` gives scores, `network.losses(batch)` the training terms.

    A method adds `terms(features)`: the loss terms of (2B, T, D) or (2B, N, T, D), normal videos first.
    """

    precision = torch.float32  # of the products in evaluation

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """{"total": ..., term: ...}, in the mode that the network is in."""
        parameter = next(self.parameters())
        return self.terms(torch.as_tensor(batch.normal_first()).to(parameter.device, parameter.dtype))

    def terms(self, features: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError
