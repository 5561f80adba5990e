"""Affine couplings, the invertible steps of a normalizing flow: one half of the channels moves the other.

Source: Dinh et al., "Density estimation using Real NVP", ICLR 2017, section 3; fixed permutations between the
couplings as in Ardizzone et al., "Guided Image Generation with Conditional Invertible Neural Networks", 2019.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Clamp = Callable[[Tensor], Tensor]


def tanh_clamp(bound: float) -> Clamp:
    """Return s -> bound * tanh(s), which keeps logarithms of scales within the bound."""
    return lambda raw: torch.tanh(raw) * bound


def atan_clamp(bound: float) -> Clamp:
    """Return s -> 0.636 * bound * atan(s / bound), which stays within the bound, as 0.636 < 2 / pi."""
    return lambda raw: torch.atan(raw / bound) * (0.636 * bound)


def couple(moved: Tensor, raw: Tensor, clamp: Clamp) -> tuple[Tensor, Tensor]:
    """Scale and shift one half of the channels by what a subnet made of the other half.

    Args:
        moved: (B, C, H, W) channels.
        raw: (B, 2C, H, W) output of the subnet: unclamped logarithms of the scales, then shifts; of any
            precision, as autocast may leave it.
        clamp: bounds the logarithms.

    Returns:
        The (B, C, H, W) scaled and shifted channels, and the (B,) log-determinants.
    """
    coupled: Tensor
    coupled, log_det = _Couple.apply(moved, *_split(raw, clamp))
    return coupled, log_det


def uncouple(moved: Tensor, raw: Tensor, clamp: Clamp) -> Tensor:
    """Return the channels that `couple` made `moved` of, given the same output of the subnet."""
    log_scale, shift = _split(raw, clamp)
    return (moved - shift) * (-log_scale).exp()


def _split(raw: Tensor, clamp: Clamp) -> tuple[Tensor, Tensor]:
    log_scale, shift = (raw.float() if raw.dtype.itemsize < torch.float32.itemsize else raw).chunk(2, dim=1)
    return clamp(log_scale), shift


class _Couple(torch.autograd.Function):
    """y = x exp(s) + t and sum(s); by hand, since memory is what a coupling waits for."""

    @staticmethod
    def forward(ctx: Any, moved: Tensor, log_scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, C, H, W) scaled and shifted channels and the (B,) log-determinants."""
        scale = log_scale.exp()
        ctx.save_for_backward(moved, scale)
        return torch.addcmul(shift, moved, scale), log_scale.sum(dim=(1, 2, 3))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the three inputs: dy/ds = x exp(s)."""
        moved, scale = ctx.saved_tensors
        to_coupled, to_log_det = gradients
        to_moved = to_coupled * scale
        return to_moved, torch.addcmul(to_log_det[:, None, None, None], to_moved, moved), to_coupled


class ChannelPermutation(nn.Module):
    """A random order of the channels, drawn at the start from torch's global generator.

    Args:
        channels: their number C.
    """

    order: Tensor  # (C,); channel i of the output is channel order[i] of the input
    inverse_order: Tensor  # (C,)

    def __init__(self, channels: int) -> None:
        super().__init__()
        order = torch.randperm(channels)
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", order.argsort())

    def forward(self, feature_map: Tensor) -> Tensor:
        """Reorder the channels of a (B, C, H, W) map; its log-determinant is 0."""
        permuted: Tensor = _Permute.apply(feature_map, self.order, self.inverse_order)
        return permuted

    def inverse(self, feature_map: Tensor) -> Tensor:
        """Bring the channels of a (B, C, H, W) map back into their first order."""
        return feature_map.index_select(1, self.inverse_order)


class _Permute(torch.autograd.Function):
    """Take channels in another order; the gradient takes them back, where indexing would add into zeros."""

    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, order: Tensor, inverse_order: Tensor) -> Tensor:
        """Return the (B, C, H, W) map with its channels in this (C,) order."""
        ctx.save_for_backward(inverse_order)
        return feature_map.index_select(1, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of the map."""
        (inverse_order,) = ctx.saved_tensors
        return gradients[0].index_select(1, inverse_order), None, None


def scale_channels(feature_map: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """Return x * scale + offset of a (B, C, H, W) map that nobody else reads: it is overwritten.

    Args:
        feature_map: the map.
        scale: (C,) factors.
        offset: (C,) summands.
    """
    if torch.compiler.is_compiling():  # what is written in place ends a graph, and a compiler saves copies
        return torch.addcmul(offset[:, None, None], feature_map, scale[:, None, None])
    scaled: Tensor = _ScaleChannels.apply(feature_map, scale, offset)
    return scaled


class _ScaleChannels(torch.autograd.Function):
    """x * scale + offset in place; the gradient finds x again in the result, so that no copy is kept."""

    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
        """Overwrite the (B, C, H, W) map by the scaled one."""
        ctx.mark_dirty(feature_map)
        torch.addcmul(offset[:, None, None], feature_map, scale[:, None, None], out=feature_map)
        ctx.save_for_backward(feature_map, scale, offset)
        return feature_map

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of the three inputs."""
        scaled, scale, offset = ctx.saved_tensors
        (gradient,) = gradients
        to_offset = gradient.sum(dim=(0, 2, 3))
        to_scale = ((gradient * scaled).sum(dim=(0, 2, 3)) - to_offset * offset) / scale
        return gradient * scale[:, None, None], to_scale, to_offset
