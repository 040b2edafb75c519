"""The blocks of `wvad_core.blocks.heads` in PyTorch."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .linear import Linear
from .random import Dropout


class ScoreHead(nn.Module):
    """linear, ReLU, dropout, linear, ReLU, dropout, linear, sigmoid. x (..., C) -> (...)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], dropout: float):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = Linear(inputs, hidden[0]), Linear(*hidden), Linear(hidden[1], 1)
        self.dropout = Dropout(p=dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return torch.sigmoid(self.fc3(x)).squeeze(-1)
