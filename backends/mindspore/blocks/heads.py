"""The blocks of `wvad_core.blocks.heads` in MindSpore."""
from __future__ import annotations

from mindspore import Tensor, nn, ops

from .linear import Linear
from .random import Dropout


class ScoreHead(nn.Cell):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(hidden[0], hidden[1]), Linear(hidden[1], 1)
        self.dropout = Dropout(dropout)

    def construct(self, x: Tensor) -> Tensor:
        x = self.dropout(ops.relu(self.fc1(x)))
        x = self.dropout(ops.relu(self.fc2(x)))
        return ops.sigmoid(self.fc3(x)).squeeze(-1)
