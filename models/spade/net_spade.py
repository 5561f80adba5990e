"""SPADE's net: the nearest training images, and for each patch the nearest patches of these images."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BLOCK_ROWS = 512  # queries in a block of distances
BLOCK_COLUMNS = 1024  # gallery rows in it; so small a block stays in a CPU's caches


class SPADENet(nn.Module):
    """Keep the features of the training images; score by distances to them.

    Args:
        num_levels: feature maps of an image.
        top_k: training images that a test image is compared with; all where there are fewer.
        kappa: gallery patches whose distances are averaged.
        squared: whether distances are squared (the paper) or not (the best-known code).
    """

    pooled: Tensor  # (N, D) global features
    # gallery_0, gallery_1, ...: (N, h_l * w_l, C_l) patch features of each level

    def __init__(self, num_levels: int, top_k: int, kappa: int, squared: bool) -> None:
        super().__init__()
        self.num_levels = num_levels
        self.top_k = top_k
        self.kappa = kappa
        self.squared = squared
        self.register_buffer("pooled", torch.empty(0, 0))
        for level in range(num_levels):
            self.register_buffer(f"gallery_{level}", torch.empty(0, 0, 0))

    @property
    def galleries(self) -> list[Tensor]:
        """The (N, h_l * w_l, C_l) patch features of each level."""
        return [getattr(self, f"gallery_{level}") for level in range(self.num_levels)]

    def remember(self, pooled: Tensor, galleries: Sequence[Tensor], append: bool) -> None:
        """Take over the features of N training images, or add them to those that are there.

        Args:
            pooled: (N, D).
            galleries: (N, h_l * w_l, C_l) for each level.
            append: whether earlier images stay.
        """
        self.pooled = torch.cat([self.pooled, pooled]) if append else pooled
        for level, gallery in enumerate(galleries):
            kept = torch.cat([self.galleries[level], gallery]) if append else gallery
            setattr(self, f"gallery_{level}", kept)

    def forward(self, pooled: Tensor, feature_maps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the image scores (B,) and the patch scores (B, h_l, w_l) of each level.

        Args:
            pooled: (B, D) global features.
            feature_maps: (B, C_l, h_l, w_l) for each level.
        """
        distance, neighbour = self.nearest_images(pooled)
        levels = [
            torch.stack(
                [self._patch_score(m, gallery[rows]) for m, rows in zip(maps, neighbour, strict=True)]
            )
            for maps, gallery in zip(feature_maps, self.galleries, strict=True)
        ]
        return self._scored(distance), levels

    def nearest_images(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return the (B, K) Euclidean distances of (B, D) features to the nearest images, and their rows."""
        distance = torch.cdist(pooled, self.pooled, compute_mode="donot_use_mm_for_euclid_dist")
        found = distance.topk(min(self.top_k, len(self.pooled)), largest=False)
        return found.values, found.indices

    def _patch_score(self, feature_map: Tensor, gallery: Tensor) -> Tensor:
        """Return the (h, w) scores of a map (C, h, w) against the patches (K, h * w, C) of K images."""
        distance = nearest_distance(patch_rows(feature_map[None])[0], gallery.flatten(0, 1), self.kappa)
        return self._scored(distance).view(feature_map.shape[1:])

    def _scored(self, distance: Tensor) -> Tensor:
        """Return the mean over the last axis of distances, or of their squares."""
        return (distance.square() if self.squared else distance).mean(-1)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            if prefix + name in state_dict:  # as large as it was saved
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def patch_rows(feature_map: Tensor) -> Tensor:
    """Return maps (B, C, h, w) as rows (B, h * w, C)."""
    return feature_map.flatten(2).mT.contiguous()


def nearest_distance(query: Tensor, gallery: Tensor, k: int) -> Tensor:
    """Return the (Q, k) Euclidean distances of queries (Q, C) to the nearest rows of a gallery (M, C).

    Blocks of |g|^2 - 2 q.g find the rows; their distances are then taken from differences, so that nothing
    cancels and equal rows are at distance 0. `k` above M counts as M.
    """
    offset = gallery.mean(0)  # shifted vectors are shorter, so products round less
    parts = (query - offset).split(BLOCK_ROWS)
    # one block for all products: fresh memory would take as long as the product itself
    block = query.new_empty(BLOCK_ROWS * BLOCK_COLUMNS)
    scores, indices = [], []
    for start in range(0, len(gallery), BLOCK_COLUMNS):
        some = gallery[start : start + BLOCK_COLUMNS] - offset
        found = [_nearest_in_block(part, some, k, block) for part in parts]
        scores.append(torch.cat([score for score, _ in found]))
        indices.append(torch.cat([index for _, index in found]) + start)
    nearest = _smallest(torch.cat(scores, dim=1), k)
    index = torch.cat(indices, dim=1).gather(1, nearest)
    return torch.linalg.vector_norm(query[:, None] - gallery[index], dim=2)


def _nearest_in_block(query: Tensor, gallery: Tensor, k: int, block: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (Q, k) smallest scores |g|^2 - 2 q.g and their rows; `block` is overwritten."""
    score = block[: len(query) * len(gallery)].view(len(query), len(gallery))
    torch.addmm(gallery.square().sum(1), query, gallery.T, alpha=-2, out=score)
    index = _smallest(score, k)
    return score.gather(1, index), index


def _smallest(score: Tensor, k: int) -> Tensor:
    """Return the columns of the k smallest scores of each row, of all where there are fewer."""
    if k == 1 and score.device.type == "cpu":
        return torch.from_numpy(score.numpy().argmin(1))[:, None]  # several times faster than torch's
    return score.topk(min(k, score.shape[1]), dim=1, largest=False).indices
