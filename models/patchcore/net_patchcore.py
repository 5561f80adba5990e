"""PatchCore's net: patch embedding, memory bank, exact search, and the paper's re-weighting."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from models.common.nearest import NearestNeighbours

Embedding = Callable[[Sequence[Tensor]], Tensor]  # feature maps to patch features (B * h * w, D)


class PatchCoreNet(nn.Module):
    """Score patches by their distance to the memory bank of normal patches.

    Args:
        embedding: maps feature maps to patch features, rows (B * h * w, D).
        num_neighbors: neighbours whose distances are averaged.
        squared: whether a patch's score is the squared distance (official code) or the distance (paper).
        reweight: "none", "paper" (Eq. 7) or "upstream" (the formula of the original open-iad).
        reweight_b: neighbourhood size b of the re-weighting.
    """

    def __init__(
        self, embedding: Embedding, num_neighbors: int, squared: bool, reweight: str, reweight_b: int
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.num_neighbors = num_neighbors
        self.squared = squared
        self.reweight = reweight
        self.reweight_b = reweight_b
        self.memory = NearestNeighbours(torch.empty(0, 0))

    def remember(self, patch_feature: Tensor, append: bool) -> None:
        """Make (M, D) patch features the memory bank, or add them to it."""
        self.memory.replace(torch.cat([self.memory.bank, patch_feature]) if append else patch_feature)

    def forward(self, feature_maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the image scores (B,) and the patch scores (B, h, w) of feature maps (B, C, h_l, w_l)."""
        batch, _, height, width = feature_maps[0].shape
        patch_feature = self.embedding(feature_maps)
        squared, index = self.memory.search(patch_feature, self._num_searched())
        distance = self.weighted(squared if self.squared else squared.sqrt(), index)
        patch_score = distance[:, : self.num_neighbors].mean(dim=1).view(batch, -1)
        image_score = patch_score.amax(dim=1)
        if self.reweight != "none" and len(self.memory.bank) > 1:  # one row has no neighbours to weigh it by
            worst = distance[:, 0].view(batch, -1).argmax(dim=1)
            row = worst + torch.arange(batch, device=worst.device) * height * width
            nearest = index[row, 0]
            image_score = self.weighted(self._reweighted(patch_feature[row], squared[row], nearest), nearest)
        return image_score, patch_score.view(batch, height, width)

    def weighted(self, distance: Tensor, index: Tensor) -> Tensor:
        """Return distances to the memory rows `index`, of the same shape, as they are to count."""
        return distance

    def _num_searched(self) -> int:
        wanted = self.reweight_b if self.reweight == "upstream" else 1
        return min(max(self.num_neighbors, wanted), len(self.memory.bank))

    def _reweighted(self, query: Tensor, squared: Tensor, nearest: Tensor) -> Tensor:
        if self.reweight == "upstream":
            return upstream_score(squared)
        _, around = self.memory.search(self.memory.bank[nearest], min(self.reweight_b, len(self.memory.bank)))
        distance = torch.linalg.vector_norm(query[:, None] - self.memory.bank[around], dim=2)
        return paper_score(squared[:, 0].sqrt(), distance)


def paper_score(nearest_distance: Tensor, neighbourhood_distance: Tensor) -> Tensor:
    """Re-weight the image score as Eq. 7 of the paper does.

    Args:
        nearest_distance: (B,) distance of the worst patch to its nearest memory row m*.
        neighbourhood_distance: (B, b) distances of that patch to the b rows nearest to m*, m* among them.
    """
    share = torch.exp(nearest_distance - neighbourhood_distance.logsumexp(dim=1))
    return (1 - share) * nearest_distance


def upstream_score(squared: Tensor) -> Tensor:
    """Re-weight as the original open-iad does: squares in the exponent, the farthest neighbour on top.

    Args:
        squared: (B, b) squared distances of the worst patch to its own b nearest rows, ascending.
    """
    share = torch.exp(squared[:, -1] - squared.logsumexp(dim=1))
    return (1 - share) * squared[:, 0]
