"""PaDiM's net: a random choice of channels from several layers, and one Gaussian per position."""

import random
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from models.common.gaussian import GaussianGrid, gather_moments, merge_moments


def draw_channels(total: int, count: int, seed: int) -> list[int]:
    """Return `count` of `total` channels in the order of drawing, as the best-known code draws them.

    Raises:
        ValueError: `count` is not within 1 and `total`.
    """
    if not 1 <= count <= total:
        raise ValueError(f"count must be within 1 and {total}, not {count}")
    return random.Random(seed).sample(range(total), count)


class PaDiMNet(nn.Module):
    """Score positions by the Mahalanobis distance to their own normal features.

    Args:
        widths: channels of each layer.
        chosen: channels that are kept, numbered through all layers; their order is of no account.
        epsilon: added to the variances.
    """

    channel: Tensor  # (C,) int64, ascending

    def __init__(self, widths: Sequence[int], chosen: Sequence[int], epsilon: float) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.register_buffer("channel", torch.tensor(sorted(chosen)))
        self.gaussians = GaussianGrid(epsilon)

    def embed(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Return (P, B, C) embeddings of maps (B, C_l, h_l, w_l), at the P cells of the first layer's grid.

        Coarser maps are repeated in blocks; channels are chosen first, so that nothing else is repeated.
        """
        height, width = feature_maps[0].shape[2:]
        parts = []
        first = 0
        for maps, channels in zip(feature_maps, self.widths, strict=True):
            inside = self.channel[(self.channel >= first) & (self.channel < first + channels)]
            cells = maps[:, inside - first].permute(2, 3, 0, 1).contiguous()
            rows, columns = _nearest(cells.shape[0], height), _nearest(cells.shape[1], width)
            parts.append(cells[rows[:, None], columns])
            first += channels
        return torch.cat(parts, dim=3).flatten(0, 1)

    def learn(self, embeddings: Iterable[Tensor], num_images: int) -> None:
        """Replace the Gaussians by those of this many images, in batches (P, B, C)."""
        if num_images < len(self.channel):
            self.gaussians.fit_few(_joined(embeddings, num_images))
        else:
            self.gaussians.fit(gather_moments(embeddings))

    def merge(self, embeddings: Iterable[Tensor]) -> None:
        """Make the Gaussians those of all images so far and these, in batches (P, B, C).

        Raises:
            ValueError: the Gaussians so far came from `learn` with fewer images than channels.
        """
        moments = gather_moments(embeddings)
        if self.gaussians.count > 0:
            moments = merge_moments(self.gaussians.moments(), moments)
        self.gaussians.fit(moments)

    def forward(self, feature_maps: Sequence[Tensor]) -> Tensor:
        """Map feature maps (B, C_l, h_l, w_l) to (B, h, w) distances on the first layer's grid."""
        batch, _, height, width = feature_maps[0].shape
        return self.gaussians(self.embed(feature_maps)).T.reshape(batch, height, width)


def _nearest(inputs: int, outputs: int) -> Tensor:
    """Return the (outputs,) rows that nearest upsampling of `inputs` rows repeats."""
    return torch.arange(outputs) * inputs // outputs


def _joined(embeddings: Iterable[Tensor], num_images: int) -> Tensor:
    """Return batches (P, B, C) as one (P, N, C), without holding them twice."""
    joined = torch.empty(0)
    first = 0
    for embedding in embeddings:
        positions, batch, channels = embedding.shape
        if first == 0:
            joined = embedding.new_empty(positions, num_images, channels)
        joined[:, first : first + batch] = embedding
        first += batch
    return joined
