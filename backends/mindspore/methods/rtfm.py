"""RTFM in MindSpore. The formulas are in `wvad_core.methods.rtfm` and `wvad_core.blocks.magnitude`."""
from __future__ import annotations

from mindspore import Tensor
from wvad_core.blocks.magnitude import with_crops

from ..blocks.magnitude import MagnitudeNetwork


class Network(MagnitudeNetwork):
    def clips(self, features: Tensor) -> Tensor:
        """(B, T, D) or (B, N, T, D) -> (B, N, T, D), the features as they are."""
        return with_crops(features)
