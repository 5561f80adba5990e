"""Patch features: rows that describe the neighbourhood of each position of several feature maps.

Source: PatchCore, Roth et al., CVPR 2022, section 3.1; the order of unfolding, resizing and pooling is that
of the official code. Differs from the source: the chain is linear, so each layer needs one fixed convolution.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEmbedding(nn.Module):
    """PatchCore's embedding by two adaptive average pools, in closed form.

    Literally: unfold each map into zero-padded windows, resize them to the first map's grid, flatten a window
    channel by channel, pool it to `pretrain_dimension` numbers, join the layers, pool to `target_dimension`.
    Resizing commutes with pooling, and what remains is a convolution whose weights are derived here.

    Args:
        channels: channels C_l of each feature map.
        patch_size: side of a window, odd.
        pretrain_dimension: width of each layer after the first pool.
        target_dimension: width D of a row.

    Raises:
        ValueError: the patch size is even.
    """

    def __init__(
        self,
        channels: Sequence[int],
        patch_size: int = 3,
        pretrain_dimension: int = 1024,
        target_dimension: int = 1024,
    ) -> None:
        super().__init__()
        if patch_size % 2 == 0:
            raise ValueError(f"patch_size must be odd, not {patch_size}")
        self.margin = patch_size // 2
        self.dimension = target_dimension
        self.columns: list[slice] = []
        self.groups: list[int] = []
        joined = _pooling_matrix(len(channels) * pretrain_dimension, target_dimension)
        for layer, count in enumerate(channels):
            share = joined[:, layer * pretrain_dimension : (layer + 1) * pretrain_dimension]
            window = _pooling_matrix(count * patch_size**2, pretrain_dimension)
            weight = torch.sparse.mm(share.to_sparse(), window).view(target_dimension, count, -1)
            rows = weight.abs().amax((1, 2)).nonzero()
            self.columns.append(slice(int(rows[0]), int(rows[-1]) + 1))
            weight, groups = _grouped(weight[self.columns[-1]])
            self.groups.append(groups)
            kernel = weight.float().unflatten(2, (patch_size, patch_size))
            self.register_buffer(f"kernel{layer}", kernel, persistent=False)

    def forward(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Map (B, C_l, h_l, w_l) feature maps to (B*h*w, D) rows on the first grid, image by image."""
        batch, _, height, width = feature_maps[0].shape
        embedding = feature_maps[0].new_zeros(batch, height, width, self.dimension)
        for layer, feature_map in enumerate(feature_maps):
            kernel = self.get_buffer(f"kernel{layer}")
            part = F.conv2d(
                _channels_last(feature_map), kernel, padding=self.margin, groups=self.groups[layer]
            )
            part = _resized(part, (height, width), "bilinear")
            embedding[..., self.columns[layer]] += part.permute(0, 2, 3, 1)
        return embedding.view(-1, self.dimension)


def average_embedding(feature_maps: Sequence[Tensor], patch_size: int = 3, mode: str = "nearest") -> Tensor:
    """Join the local averages of (B, C_l, h_l, w_l) feature maps to (B*h*w, sum of C_l) rows, image by image.

    Each map is averaged over patch_size x patch_size windows, padding zeros counted, and resized to the first
    map's grid by `mode`, "nearest" (as IM-IAD's `_patchcore`) or "bilinear" (as anomalib).
    """
    batch, _, height, width = feature_maps[0].shape
    counts = [feature_map.shape[1] for feature_map in feature_maps]
    embedding = feature_maps[0].new_empty(batch, height, width, sum(counts))
    for part, feature_map in zip(embedding.split(counts, dim=3), feature_maps, strict=True):
        average = F.avg_pool2d(_channels_last(feature_map), patch_size, stride=1, padding=patch_size // 2)
        part.copy_(_resized(average, (height, width), mode).permute(0, 2, 3, 1))
    return embedding.view(-1, sum(counts))


def _channels_last(feature_map: Tensor) -> Tensor:
    """Lay out a (B, C, h, w) map position by position: its convolutions are several times faster so."""
    return feature_map.contiguous(memory_format=torch.channels_last)


def _resized(feature_map: Tensor, grid: tuple[int, int], mode: str) -> Tensor:
    """Resize a (B, C, h, w) map to the grid; pixel centres correspond (align_corners=False)."""
    return feature_map if feature_map.shape[2:] == grid else F.interpolate(feature_map, size=grid, mode=mode)


def _pooling_matrix(inputs: int, outputs: int) -> Tensor:
    """Return the (outputs, inputs) float64 matrix of adaptive average pooling.

    Bin i covers floor(i * inputs / outputs) to ceil((i + 1) * inputs / outputs), the end not included.
    """
    index = torch.arange(outputs)[:, None]
    start = index * inputs // outputs
    end = -(-(index + 1) * inputs // outputs)
    position = torch.arange(inputs)
    return ((position >= start) & (position < end)) / (end - start).double()


def _grouped(weight: Tensor) -> tuple[Tensor, int]:
    """Return the (D, C/groups, taps) weights of a (D, C, taps) convolution at its finest grouping."""
    dimension, channels, taps = weight.shape
    used = weight.abs().amax(2) > 0
    for groups in range(channels, 1, -1):
        if channels % groups or dimension % groups:
            continue
        blocks = used.view(groups, dimension // groups, groups, channels // groups)
        member = torch.arange(groups)
        if blocks[member, :, member].sum() == used.sum():
            diagonal = weight.view(groups, dimension // groups, groups, channels // groups, taps)
            return diagonal[member, :, member].reshape(dimension, channels // groups, taps), groups
    return weight, 1
