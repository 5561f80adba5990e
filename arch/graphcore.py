"""GraphCore: a memory bank of normal patch features of a vision graph net, made for a handful of images.

Source: Xie et al., "Pushing the Limits of Few-shot Anomaly Detection in Industry Vision: GraphCore", ICLR
2023, and its code in open-iad. Differs from the source: images are normalised as the weights were trained
(`_input_norm: imagenet` for the old way); the coreset is a tenth of the patches, or all of 10,000 and fewer,
not a thousandth, and never below `_min_coreset` patches; scores are plain distances (`_distance: l2sq` for
their squares). With a backbone that is no graph net it is a PatchCore without pooling, for runs without the
graph net's weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from arch.base import LAYER_NETS, Runtime
from arch.kinds.memory_bank import MemoryBankMethod, MemoryBankParams
from configuration.config import RunConfig
from data_io.records import BatchLoader, Task
from models.backbones.row import IMAGENET_MEAN, IMAGENET_STD
from models.backbones.vigs import VIG_NETS
from models.common.coreset import greedy_coreset, project_sparse
from models.common.patch_embedding import average_embedding
from models.patchcore.net_patchcore import Embedding

DEFAULT_SHARE = 0.1  # of the patches, where no share is given
SMALL_TASK = 10_000  # patches up to which all are kept, where no share is given


class GraphCore(MemoryBankMethod):
    """Features of two blocks, whose graph follows patches wherever they turn, and a coreset of them."""

    @dataclass(frozen=True)
    class Params(MemoryBankParams):
        """The keys of 1_model_base/graphcore.yaml; without a share, a small task keeps all its patches."""

        sampler_name: Literal["identity", "greedy_coreset"]
        min_coreset: int  # patches that the coreset has at least, if the task has so many
        bank_limit: int | None  # patches that the bank has at most; None for no bound
        input_norm: Literal["own", "imagenet"]

        def __post_init__(self) -> None:
            super().__post_init__()
            for key in ("min_coreset", "bank_limit"):
                number = getattr(self, key)
                if number is not None and number < 1:
                    raise ValueError(f"_{key} must be at least 1, not {number}")

    nets = (*VIG_NETS, *LAYER_NETS)
    setting_reason = "it is a memory bank of normal images; labelled anomalies are not used"
    params: Params

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config, params)
        if params.input_norm == "imagenet":
            self.backbone.mean.copy_(torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
            self.backbone.std.copy_(torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def embedding(self, channels: Sequence[int]) -> Embedding:
        """Return the concatenation of the layers on the first one's grid, averaged locally if asked for."""
        return partial(average_embedding, patch_size=self.params.patch_size)

    def project(self, patch_feature: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
        """Return a sparse projection to the width that keeps the distances of this many points."""
        return project_sparse(patch_feature, num_rows, generator)

    def start_distance(self, projected: Tensor, task: Task) -> Tensor | None:
        """Start with the first patch."""
        return None

    def num_picks(self, num_rows: int) -> int:
        """Return how many of the patch features of a task the coreset keeps."""
        share = self.params.sampler_percentage
        if share is None:
            share = 1.0 if num_rows <= SMALL_TASK else DEFAULT_SHARE
        return min(num_rows, max(self.params.min_coreset, int(num_rows * share)))

    @torch.no_grad()
    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Select this task's coreset; thin out the bank where that exceeds its bound."""
        super().train_model(loader, task, runtime)
        bank, limit = self.net.memory.bank, self.params.bank_limit
        if limit is not None and len(bank) > limit:
            self.net.remember(bank[greedy_coreset(bank, limit)], append=False)
