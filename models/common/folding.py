"""Batch norms in evaluation mode are affine maps: a convolution can do their work."""

from copy import deepcopy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
Net = TypeVar("Net", bound=nn.Module)


def fold_norms(net: nn.Module) -> None:
    """Fold every BatchNorm, in evaluation mode, into the convolution registered just before it.

    Only for nets in which that is the convolution whose output it takes, and nobody else does.
    """
    for module in list(net.modules()):
        children = list(module.named_children())
        for (name, convolution), (norm_name, norm) in pairwise(children):
            if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, nn.BatchNorm2d):
                is_transposed = isinstance(convolution, nn.ConvTranspose2d)
                module.add_module(name, fuse_conv_bn_eval(convolution, norm, is_transposed))
                module.add_module(norm_name, getattr(norm, "act", nn.Identity()))  # timm's norms have one


def folded(net: Net) -> Net:
    """Return a copy for scoring, without gradients, its norms folded; see `fold_norms` for the nets."""
    copy = deepcopy(net).eval()
    fold_norms(copy)
    return copy.requires_grad_(False).to(memory_format=torch.channels_last)
