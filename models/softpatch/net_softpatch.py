"""SoftPatch's net: PatchCore's, with a soft weight on the distance to each memory row."""

from typing import Any

import torch
from torch import Tensor

from models.patchcore.net_patchcore import Embedding, PatchCoreNet


class SoftPatchNet(PatchCoreNet):
    """Score patches as PatchCore does; a distance counts by the weight of the memory row that it leads to."""

    weight: Tensor  # (M,), saved with the bank

    def __init__(
        self, embedding: Embedding, num_neighbors: int, squared: bool, reweight: str, reweight_b: int
    ) -> None:
        super().__init__(embedding, num_neighbors, squared, reweight, reweight_b)
        self.register_buffer("weight", torch.empty(0))

    def remember(self, patch_feature: Tensor, append: bool, weight: Tensor | None = None) -> None:
        """Make (M, D) patch features and their (M,) weights the memory, or add them to it.

        Args:
            patch_feature: the rows.
            append: keep the rows and weights that are there.
            weight: None for 1 everywhere.
        """
        if weight is None:
            weight = patch_feature.new_ones(len(patch_feature))
        self.weight = torch.cat([self.weight, weight]) if append else weight
        super().remember(patch_feature, append)

    def weighted(self, distance: Tensor, index: Tensor) -> Tensor:
        """Return distances to the memory rows `index`, of the same shape, times the weights of these rows."""
        return distance * self.weight[index]

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if f"{prefix}weight" in state_dict:  # as many as were saved
            self.weight = torch.empty_like(state_dict[f"{prefix}weight"], device=self.weight.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
