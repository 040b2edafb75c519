"""PyTorch's networks as ONNX files."""
from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx_ir
import onnxscript  # noqa: F401  torch.onnx needs it, and says so less plainly

import torch
from torch import Tensor, nn
from wvad_core.registry import clip_sizes_of

from .network import ClipNetwork, VideoNetwork

OPSET = 20
MOST = 2**31 - 2**20  # bytes of weights: a protobuf file holds 2 GiB


class Scores(nn.Module):
    """Features (N, T, D) -> scores (T,), as `backend.score`."""

    def __init__(self, network: VideoNetwork):
        super().__init__()
        self.network = network

    def forward(self, features: Tensor) -> Tensor:
        scores = self.network(features[None] if self.network.config.crops_together else features)
        return self.network.postprocess(scores.mean(0))


def write(network: VideoNetwork | ClipNetwork, path: Path, metadata: Mapping[str, str]) -> None:
    """One file with the weights inside; N and T are of any size, clips (N, C, F, H, W) of the published one.

    Raises NotImplementedError where ONNX lacks something.
    """
    size = sum(value.nbytes for value in network.state_dict().values())
    if size > MOST:
        raise NotImplementedError(f"its weights take {size / 2**30:.1f} GiB, and an ONNX file holds 2 at most")
    try:
        with torch.no_grad(), _quiet():
            program = (_features if isinstance(network, ClipNetwork) else _scores)(network)
    except torch.onnx.OnnxExporterError as error:
        raise NotImplementedError(_reason(error)) from error
    model = program.model
    for node in model.graph.all_nodes():  # the exporter's notes name the files of the machine
        node.metadata_props.clear()
    model.metadata_props.update(metadata)
    onnx_ir.save(model, path)


def _scores(network: VideoNetwork) -> torch.onnx.ONNXProgram:
    config, place = network.config, next(network.parameters()).device
    example = torch.zeros(3 + config.patches, 30, config.feature_dim, device=place)
    return torch.onnx.export(Scores(network).eval(), (example,), dynamo=True, verbose=False, opset_version=OPSET,
                             dynamic_shapes={"features": {0: "crops", 1: "steps"}}, output_names=["scores"])


def _features(network: ClipNetwork) -> torch.onnx.ONNXProgram:
    place = next(network.parameters()).device
    example = torch.zeros(3, network.config.in_channels, *clip_sizes_of(network.config).published, device=place)
    return torch.onnx.export(network.eval(), (example,), dynamo=True, verbose=False, opset_version=OPSET,
                             dynamic_shapes={"clips": {0: "count"}}, output_names=["features"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's notes on packages that are not there and functions that are to change."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of what failed first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[0]
