"""What memory-bank methods share: patch features, a coreset chosen among random projections, and its search.

One pass projects the patch features, the coreset picks rows, a second pass over the cached maps gathers them.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from arch.base import LAYER_NETS, NORMAL_ONLY, ModelBase, Prediction, Runtime
from augmentation.feature_rotation import with_rotations
from configuration.config import RunConfig
from data_io.records import BatchLoader, ScoringBatch, Task
from models.backbones.backbone import Backbone
from models.common.anomaly_map import mean_anomaly_map
from models.common.coreset import greedy_coreset
from models.patchcore.net_patchcore import Embedding, PatchCoreNet


@dataclass(frozen=True)
class MemoryBankParams:
    """The keys that every memory-bank method has."""

    layers: tuple[str, ...]
    patch_size: int  # side of the neighbourhood, in feature map cells
    sampler_name: str  # narrowed by each method; "identity" keeps all
    sampler_percentage: float | None  # share of the patches that the coreset keeps, in (0, 1]; None for all
    anomaly_scorer_num_nn: int
    distance: Literal["l2sq", "l2"]
    reweight: Literal["none", "paper", "upstream"]
    reweight_b: int
    continual: Literal["append", "replace"]
    transfer: Literal["append", "replace"]

    def __post_init__(self) -> None:
        if self.sampler_percentage is not None and not 0 < self.sampler_percentage <= 1:
            raise ValueError(f"_sampler_percentage must be in (0, 1], not {self.sampler_percentage}")
        if self.patch_size < 1 or self.patch_size % 2 == 0:
            raise ValueError(f"_patch_size must be odd, not {self.patch_size}")
        if min(self.anomaly_scorer_num_nn, self.reweight_b) < 1:
            raise ValueError("_anomaly_scorer_num_nn and _reweight_b must be at least 1")


class MemoryBankMethod(ModelBase):
    """Score patches by their distance to a coreset of the normal patches; nothing is trained by gradient."""

    nets: ClassVar[tuple[str, ...]] = LAYER_NETS
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would enter its memory"
    rotates_features = True
    net_class: ClassVar[type[PatchCoreNet]] = PatchCoreNet
    net: PatchCoreNet
    params: MemoryBankParams
    backbone: Backbone

    @classmethod
    def unsupported(cls, config: RunConfig, params: MemoryBankParams) -> str | None:
        """Return why a share that was typed would have no effect; None if it has one."""
        share = config.origin["_sampler_percentage"]
        if share.startswith("-") and params.sampler_name == "identity" and params.sampler_percentage != 1:
            return f"{share}: the sampler identity keeps all patches; leave one of the two out"
        return None

    def __init__(self, config: RunConfig, params: MemoryBankParams) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, params.layers)
        embedding = self.embedding([self.backbone.channels[layer] for layer in params.layers])
        scoring = params.distance == "l2sq", params.reweight, params.reweight_b
        self.net = self.net_class(embedding, params.anomaly_scorer_num_nn, *scoring).to(self.device)

    @abstractmethod
    def embedding(self, channels: Sequence[int]) -> Embedding:
        """Return what makes patch features (B * h * w, D) of feature maps of these widths."""

    @abstractmethod
    def project(self, patch_feature: Tensor, num_rows: int, generator: torch.Generator) -> Tensor:
        """Return the (R, d) rows in which the coreset measures distances.

        Args:
            patch_feature: (R, D) rows of one batch.
            num_rows: how many patch features the task has.
            generator: draws the same projection for every batch.
        """

    @abstractmethod
    def start_distance(self, projected: Tensor, task: Task) -> Tensor | None:
        """Return the (N,) distances that the selection starts with; None to pick row 0 first."""

    def num_picks(self, num_rows: int) -> int:
        """Return how many of the patch features of a task the coreset keeps."""
        return max(1, int(num_rows * (self.params.sampler_percentage or 1)))

    @torch.no_grad()
    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Select this task's coreset; keep earlier tasks' rows where `_continual` or `_transfer` says so."""
        coreset = self._coreset(loader, task, runtime)
        self.net.remember(coreset, append=self.mode(task) == "append")

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Upsample and smooth the patch scores; the worst patch gives the image score."""
        image_score, patch_score = self.net(batch.maps(self.params.layers))
        return Prediction(image_score, mean_anomaly_map([patch_score], batch.size))

    def _coreset(self, loader: BatchLoader, task: Task, runtime: Runtime) -> Tensor:
        """Return the (M, D) patch features of the training images that the sampler keeps."""
        if self.params.sampler_name == "identity" or self.params.sampler_percentage == 1:
            return torch.cat([rows for rows, _ in self._patch_features(loader, runtime, "embed")])
        projected = self._projected(loader, task, runtime)
        num_picks = self.num_picks(len(projected))
        if num_picks == len(projected):
            return self._gathered(loader, runtime, torch.arange(num_picks, device=projected.device))
        with runtime.bar("coreset", num_picks) as bar:
            start = self.start_distance(projected, task)
            picks = greedy_coreset(projected, num_picks, start, on_progress=bar.update)
        return self._gathered(loader, runtime, picks)

    def _patch_features(
        self, loader: BatchLoader, runtime: Runtime, what: str
    ) -> Iterator[tuple[Tensor, int]]:
        """Yield the patch features (R, D) of a batch and its number of images, batch by batch."""
        with runtime.bar(what, loader.num_images) as bar:
            for batch in loader:
                maps = batch.maps(self.params.layers)
                rows = self.net.embedding(maps)
                if self.config.setting.fewshot_feat_aug:
                    rows = with_rotations(rows, *maps[0].shape[2:])
                yield rows, len(batch.image)
                bar.update(len(batch.image))

    def _projected(self, loader: BatchLoader, task: Task, runtime: Runtime) -> Tensor:
        projected, first = torch.empty(0), 0
        for rows, num_images in self._patch_features(loader, runtime, "embed"):
            num_rows = len(rows) // num_images * loader.num_images
            part = self.project(rows, num_rows, task.generator("projection"))
            projected = projected if first else part.new_empty(num_rows, part.shape[1])
            projected[first : first + len(part)] = part  # in place, so that there are never two copies
            first += len(part)
        return projected

    def _gathered(self, loader: BatchLoader, runtime: Runtime, picks: Tensor) -> Tensor:
        """Return the patch features of the picked rows, in the order of the picks."""
        wanted, order = picks.sort()
        parts, first = [], 0
        for rows, _ in self._patch_features(loader, runtime, "memory bank"):
            inside = wanted[(wanted >= first) & (wanted < first + len(rows))]
            parts.append(rows[inside - first])
            first += len(rows)
        return torch.cat(parts)[order.argsort()]
