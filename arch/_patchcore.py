"""The in-house PatchCore: pooled features without reduction, sparse projection, farthest-first coreset.

Source: Roth et al., CVPR 2022, as the original open-iad's `_patchcore` reads it (anomalib's features are the
same but for the upsampling). Differs from the source: Eq. 7 re-weights the image score as the paper writes it
(`_reweight: upstream` for the old formula).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from arch.kinds.memory_bank import MemoryBankMethod, MemoryBankParams
from data_io.records import Task
from models.common.coreset import project_sparse
from models.common.patch_embedding import average_embedding
from models.patchcore.net_patchcore import Embedding


class PatchCoreInHouse(MemoryBankMethod):
    """Average-pooled features at full width, and a coreset that starts at the first patch."""

    @dataclass(frozen=True)
    class Params(MemoryBankParams):
        """The keys of 1_model_base/_patchcore.yaml that begin with an underscore."""

        sampler_name: Literal["identity", "greedy_coreset"]

    def embedding(self, channels: Sequence[int]) -> Embedding:
        """Return the pooling of each layer, concatenated."""
        return partial(average_embedding, patch_size=self.params.patch_size)

    def project(self, patch_feature: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
        """Return a sparse projection to the width that keeps the distances of this many points."""
        return project_sparse(patch_feature, num_rows, generator)

    def start_distance(self, projected: Tensor, task: Task) -> Tensor | None:
        """Start with the first patch."""
        return None
