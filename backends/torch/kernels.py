"""Products and convolutions over time on the CPU: output and gradients each by the kernel that the table of routes names.

Products are of x (..., I) and W (O, I); convolutions of x (B, T, I) and W (O, I, K), and keep the length. Each kernel has
`output`, `of_input` and `of_weight`, the latter two from the output's gradient dy.
"""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from . import routes

convolution_backward = torch.ops.aten.convolution_backward

OF_ONE_TAP = 2
"""The dilation along an axis on which a kernel has one tap. It changes nothing, but without one PyTorch, where it has one thread,
keeps kernels of 1 x 1 from oneDNN and computes them at a half to a tenth of the rate."""


class Pixels:
    """A product as a convolution of kernel 1 on channels-last images of width 1."""

    @staticmethod
    def output(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        y = F.conv2d(_pixels(x), weight[:, :, None, None], bias, dilation=(1, OF_ONE_TAP))
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)

    @staticmethod
    def of_input(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return Pixels._backward(dy, x, weight, 0).permute(0, 2, 3, 1).reshape(x.shape)

    @staticmethod
    def of_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return Pixels._backward(dy, x, weight, 1)[..., 0, 0]

    @staticmethod
    def _backward(dy: Tensor, x: Tensor, weight: Tensor, which: int) -> Tensor:
        return convolution_backward(_pixels(dy), _pixels(x), weight[:, :, None, None], None, (1, 1), (0, 0), (1, OF_ONE_TAP),
                                    False, (0, 0), 1, [which == 0, which == 1, False])[which]


class Matrix:
    """A product by the BLAS."""

    output = staticmethod(F.linear)

    @staticmethod
    def of_input(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return dy @ weight

    @staticmethod
    def of_weight(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return dy.flatten(0, -2).t() @ x.flatten(0, -2)


class Image:
    """A convolution over time as one of channels-last images of width 1, which need no transposed copy.

    oneDNN has a slow one for a dilation of 4 alone: snippet t = 4 h + w then becomes pixel (h, w), and the dilation 1.
    """

    @staticmethod
    def output(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, groups: int = 1) -> Tensor:
        width, apart = _width(dilation)
        y = F.conv2d(_image(x, width), weight[..., None], bias, 1, (apart * (weight.shape[-1] // 2), 0), (apart, 1), groups)
        return _snippets(y, x.shape[1])

    @staticmethod
    def of_input(dy: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        return _snippets(Image._backward(dy, x, weight, dilation, 0), x.shape[1])

    @staticmethod
    def of_weight(dy: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        return Image._backward(dy, x, weight, dilation, 1)[..., 0]

    @staticmethod
    def _backward(dy: Tensor, x: Tensor, weight: Tensor, dilation: int, which: int) -> Tensor:
        width, apart = _width(dilation)
        return convolution_backward(_image(dy, width), _image(x, width), weight[..., None], None, (1, 1),
                                    (apart * (weight.shape[-1] // 2), 0), (apart, 1), False, (0, 0), 1,
                                    [which == 0, which == 1, False])[which]


class Sequence:
    """A convolution over time with channels first."""

    @staticmethod
    def output(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
        reach = dilation * (weight.shape[-1] // 2)
        return F.conv1d(x.transpose(1, 2), weight, bias, 1, reach, dilation).transpose(1, 2)

    @staticmethod
    def of_input(dy: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        return Sequence._backward(dy, x, weight, dilation, 0).transpose(1, 2)

    @staticmethod
    def of_weight(dy: Tensor, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        return Sequence._backward(dy, x, weight, dilation, 1)

    @staticmethod
    def _backward(dy: Tensor, x: Tensor, weight: Tensor, dilation: int, which: int) -> Tensor:
        reach = dilation * (weight.shape[-1] // 2)
        return convolution_backward(dy.transpose(1, 2), x.transpose(1, 2), weight, None, (1,), (reach,), (dilation,), False,
                                    (0,), 1, [which == 0, which == 1, False])[which]


PRODUCTS = {"pixels": Pixels, "matrix": Matrix}
CONVOLUTIONS = {"image": Image, "sequence": Sequence}


class Routed(torch.autograd.Function):
    """An operation whose output and gradients take the kernels of `names`. rest: what `output` takes behind the bias."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, kernels: dict, names: routes.Kernels, *rest: int) -> Tensor:
        return kernels[names.output].output(x, weight, bias, *rest)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, weight, _, ctx.kernels, ctx.names, *ctx.rest = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (of_input, of_weight, of_bias, *_) = ctx.saved_tensors, ctx.needs_input_grad
        given = dy, x, weight, *ctx.rest
        dx = ctx.kernels[ctx.names.of_input].of_input(*given) if of_input else None
        dw = ctx.kernels[ctx.names.of_weight].of_weight(*given) if of_weight else None
        return dx, dw, dy.sum(tuple(range(dy.ndim - 1))) if of_bias else None, None, None, *(None for _ in ctx.rest)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b. (..., I) -> (..., O)."""
    return _routed(x, weight, bias, PRODUCTS, routes.TAKEN.product_by(x.numel() // x.shape[-1]))


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, dilation: int = 1) -> Tensor:
    """(B, T, I) -> (B, T, O)."""
    outputs, inputs, _ = weight.shape
    return _routed(x, weight, bias, CONVOLUTIONS, routes.TAKEN.convolution_by(inputs, outputs), dilation)


def weight_product(dy: Tensor, x: Tensor) -> Tensor:
    """dy^T x, the gradient of a product's weight. (R, O), (R, I) -> (O, I)."""
    return PRODUCTS[routes.TAKEN.product_by(len(x)).of_weight].of_weight(dy, x, dy.new_empty(dy.shape[1], x.shape[1]))


def _routed(x: Tensor, weight: Tensor, bias: Tensor | None, kernels: dict, names: routes.Kernels, *rest: int) -> Tensor:
    """In mixed precision, where PyTorch casts, the gradients are those of the output's kernel."""
    if torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type):
        return Routed.apply(x, weight, bias, kernels, names, *rest)
    return kernels[names.output].output(x, weight, bias, *rest)


def _pixels(x: Tensor) -> Tensor:
    """(..., C) -> (1, C, R, 1)."""
    return x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)


def _width(dilation: int) -> tuple[int, int]:
    """The width of an image, and the dilation in it."""
    return (4, 1) if dilation == 4 else (1, dilation)


def _image(x: Tensor, width: int) -> Tensor:
    """(B, T, C) -> (B, C, T / width, width), padded with zeros to full rows."""
    batch, steps, channels = x.shape
    missing = -steps % width
    return (F.pad(x, (0, 0, 0, missing)) if missing else x).reshape(batch, -1, width, channels).permute(0, 3, 1, 2)


def _snippets(image: Tensor, steps: int) -> Tensor:
    """(B, C, H, width) -> (B, T, C)."""
    return image.permute(0, 2, 3, 1).flatten(1, 2)[:, :steps]


def eager_cpu(x: Tensor) -> bool:
    """Whether oneDNN computes: not on CUDA, in float64, or in a graph that PyTorch compiles or exports."""
    return x.device.type == "cpu" and x.dtype != torch.float64 and not torch.compiler.is_compiling()
