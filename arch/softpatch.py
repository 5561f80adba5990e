"""SoftPatch: PatchCore that drops the noisiest patches and weighs the distances to those it keeps.

Source: Jiang et al., "SoftPatch: Unsupervised Anomaly Detection with Noisy Data", NeurIPS 2022, and the
authors' code. Differs from the code: the patches above the threshold are removed before the coreset, as in
the paper (`_denoise: zero` is the code's way); `_lof_k` is 5 as the code runs, where the paper says 6; inputs
are not cropped to 224 pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from arch.base import Runtime
from arch.kinds.memory_bank import MemoryBankMethod, MemoryBankParams
from arch.patchcore import PROJECTED_WIDTH, start_distance
from data_io.records import BatchLoader, Task
from models.common.coreset import greedy_coreset, project_uniform
from models.common.patch_embedding import PatchEmbedding
from models.patchcore.net_patchcore import Embedding
from models.softpatch.net_softpatch import SoftPatchNet
from models.softpatch.outlier_weight import outlier_weight

REMOVING = ("identity", "weighted_greedy_coreset")  # the samplers that leave the noisiest patches out


class SoftPatch(MemoryBankMethod):
    """PatchCore's features and coreset; a patch is judged against the same position in the other images."""

    @dataclass(frozen=True)
    class Params(MemoryBankParams):
        """The keys of 1_model_base/softpatch.yaml that begin with an underscore."""

        sampler_name: Literal[
            "identity", "greedy_coreset", "approx_greedy_coreset", "weighted_greedy_coreset"
        ]
        pretrain_embed_dimension: int
        target_embed_dimension: int
        weight_method: Literal["lof", "lof_gpu", "nearest", "gaussian"]
        lof_k: int
        threshold: float  # share of the patches that count as noise, in [0, 1)
        denoise: Literal["remove", "zero"]
        soft_weight_flag: bool

        def __post_init__(self) -> None:
            super().__post_init__()
            if min(self.pretrain_embed_dimension, self.target_embed_dimension) < 1:
                raise ValueError("_pretrain_embed_dimension and _target_embed_dimension must be at least 1")
            if not 0 <= self.threshold < 1:
                raise ValueError(f"_threshold must be in [0, 1), not {self.threshold}")
            if self.lof_k < 1:
                raise ValueError(f"_lof_k must be at least 1, not {self.lof_k}")

    params: Params
    net: SoftPatchNet
    net_class = SoftPatchNet

    def embedding(self, channels: Sequence[int]) -> Embedding:
        """Return PatchCore's patch embedding."""
        params = self.params
        return PatchEmbedding(
            channels, params.patch_size, params.pretrain_embed_dimension, params.target_embed_dimension
        )

    def project(self, patch_feature: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
        """Return two independent projections side by side: PatchCore's, and one for the outlier weights."""
        return torch.cat([project_uniform(patch_feature, PROJECTED_WIDTH, generator) for _ in range(2)], 1)

    def start_distance(self, projected: Tensor, task: Task) -> Tensor:
        """Return PatchCore's."""
        return start_distance(projected, self.params.sampler_name == "greedy_coreset", task)

    @torch.no_grad()
    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Select this task's coreset and its weights; keep earlier tasks' where the keys say so."""
        picks, weight = self._select(loader, task, runtime)
        soft = weight if self.params.soft_weight_flag else None
        coreset = self._gathered(loader, runtime, picks)
        self.net.remember(coreset, self.mode(task) == "append", soft)

    def _select(self, loader: BatchLoader, task: Task, runtime: Runtime) -> tuple[Tensor, Tensor]:
        """Return the (M,) rows that the sampler keeps and their (M,) weights."""
        projected = self._projected(loader, task, runtime)
        num_picks = self.num_picks(len(projected))
        weight = self._outlier_weight(projected[:, PROJECTED_WIDTH:], loader.num_images)
        kept = weight <= self._limit(weight)
        if self.params.sampler_name == "identity" or num_picks >= int(kept.sum()):
            row = kept.nonzero()[:, 0]
            return row, weight[row]
        if self.params.denoise == "zero" and self.params.sampler_name in REMOVING:
            start = self.start_distance(projected[:, :PROJECTED_WIDTH], task)
            kept[start.argmax()] = True  # the first pick, noisy or not
            start, projected = start[kept], projected[kept, :PROJECTED_WIDTH]
        else:
            projected = projected[kept, :PROJECTED_WIDTH]
            start = self.start_distance(projected, task)
        with runtime.bar("coreset", num_picks) as bar:
            picks = greedy_coreset(projected, num_picks, start, on_progress=bar.update)
        row = kept.nonzero()[picks, 0]
        return row, weight[row]

    def _outlier_weight(self, projected: Tensor, num_images: int) -> Tensor:
        """Return the weights of all rows; 1 where augmented copies are not aligned position by position."""
        setting = self.config.setting
        if setting.fewshot_data_aug or setting.fewshot_feat_aug:
            return projected.new_ones(len(projected))
        feature = projected.unflatten(0, (num_images, -1))
        return outlier_weight(feature, self.params.weight_method, self.params.lof_k).flatten()

    def _limit(self, weight: Tensor) -> Tensor:
        """Return the weight above which a patch is barred: the (1 - threshold) quantile of all."""
        share = 1 - self.params.threshold if self.params.sampler_name in REMOVING else 1
        return weight.sort().values[int((len(weight) - 1) * share)]
