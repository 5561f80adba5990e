"""PatchCore: distance of each patch to a coreset of the normal patches.

Source: Roth et al., "Towards Total Recall in Industrial Anomaly Detection", CVPR 2022, and the authors' code.
Differs from the paper: as the authors' code, squared distances and no re-weighting of the image score by
default (`_distance: l2` and `_reweight: paper` are the paper's); inputs are not cropped to 224 pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from arch.kinds.memory_bank import MemoryBankMethod, MemoryBankParams
from data_io.records import Task
from models.common.coreset import full_distance, mean_distance, project_uniform
from models.common.patch_embedding import PatchEmbedding
from models.patchcore.net_patchcore import Embedding

PROJECTED_WIDTH = 128  # of the official code's coreset
NUM_STARTS = 10  # start points of the approximate greedy selection


class PatchCore(MemoryBankMethod):
    """Pooled patch features of two layers, and a coreset that starts from a few random points."""

    @dataclass(frozen=True)
    class Params(MemoryBankParams):
        """The keys of 1_model_base/patchcore.yaml that begin with an underscore."""

        sampler_name: Literal["identity", "greedy_coreset", "approx_greedy_coreset"]
        pretrain_embed_dimension: int
        target_embed_dimension: int

        def __post_init__(self) -> None:
            super().__post_init__()
            if min(self.pretrain_embed_dimension, self.target_embed_dimension) < 1:
                raise ValueError("_pretrain_embed_dimension and _target_embed_dimension must be at least 1")

    params: Params

    def embedding(self, channels: Sequence[int]) -> Embedding:
        """Return the patch embedding of the official code."""
        params = self.params
        return PatchEmbedding(
            channels, params.patch_size, params.pretrain_embed_dimension, params.target_embed_dimension
        )

    def project(self, patch_feature: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
        """Return a dense projection to 128 numbers."""
        return project_uniform(patch_feature, PROJECTED_WIDTH, generator)

    def start_distance(self, projected: Tensor, task: Task) -> Tensor | None:
        """Return the mean distance to a few random points, or for `greedy_coreset` the norm over all."""
        return start_distance(projected, self.params.sampler_name == "greedy_coreset", task)


def start_distance(projected: Tensor, exact: bool, task: Task) -> Tensor:
    """Return the (N,) distances that the selection among (N, d) points starts with.

    Args:
        projected: the points.
        exact: take the norm over the distances to all points, not the mean over those to a few random ones.
        task: draws the random points.
    """
    if exact:
        return full_distance(projected)
    rows = torch.randperm(len(projected), generator=task.generator("coreset start"))[:NUM_STARTS]
    return mean_distance(projected, rows.to(projected.device))
