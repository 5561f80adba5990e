"""What memory-bank methods share: patch features, a coreset chosen among random projections, and its search.

One pass projects the patch features, the coreset picks rows, a second pass over the cached maps gathers them.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from arch.base import LAYER_NETS, ModelBase, Prediction
from augmentation.feature_rotation import with_rotations
from configuration.config import RunConfig
from data_io.records import BatchLoader, ScoringBatch, Task
from models.common.anomaly_map import mean_anomaly_map
from models.common.backbone import Backbone
from models.common.coreset import greedy_coreset
from models.patchcore.net_patchcore import Embedding, PatchCoreNet

SIGMA = 4.0  # of the Gaussian that smooths the map, in pixels, as in PatchCore's code


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
    settings = ("vanilla", "fewshot", "continual", "noisy", "transfer")
    setting_reason = "it learns from normal images alone, labelled anomalies would enter its memory"
    rotates_features = True
    net_class: ClassVar[type[PatchCoreNet]] = PatchCoreNet
    net: PatchCoreNet
    backbone: Backbone

    @classmethod
    def unsupported(cls, config: RunConfig) -> str | None:
        """Return why a share that was typed would have no effect; None if it has one."""
        share, params = config.origin["_sampler_percentage"], config.params
        assert isinstance(params, MemoryBankParams)
        if share.startswith("-") and params.sampler_name == "identity" and params.sampler_percentage != 1:
            return f"{share}: the sampler identity keeps all patches; leave one of the two out"
        return None

    def __init__(self, config: RunConfig, params: MemoryBankParams) -> None:
        super().__init__(config)
        self.params = params
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
    def train_model(self, train_loader: BatchLoader, task: Task) -> None:
        """Select this task's coreset; keep earlier tasks' rows where `_continual` or `_transfer` says so."""
        self.net.remember(self._coreset(train_loader, task), append=self._appends(task))

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Upsample and smooth the patch scores; the worst patch gives the image score."""
        image_score, patch_score = self.net(self._feature_maps(batch))
        size = (batch.image.shape[2], batch.image.shape[3])
        return Prediction(image_score, mean_anomaly_map([patch_score], size, SIGMA))

    def _feature_maps(self, batch: ScoringBatch) -> list[Tensor]:
        features = self.features(batch)
        return [features[layer] for layer in self.params.layers]

    def _appends(self, task: Task) -> bool:
        mode = self.params.transfer if task.setting == "transfer" else self.params.continual
        return task.step > 0 and mode == "append"

    def _coreset(self, train_loader: BatchLoader, task: Task) -> Tensor:
        """Return the (M, D) patch features of the training images that the sampler keeps."""
        if self.params.sampler_name == "identity" or self.params.sampler_percentage == 1:
            return torch.cat([rows for rows, _ in self._patch_features(train_loader, "embed")])
        projected = self._projected(train_loader, task)
        num_picks = self.num_picks(len(projected))
        if num_picks == len(projected):
            return self._gathered(train_loader, torch.arange(num_picks, device=projected.device))
        with self.bar("coreset", num_picks) as bar:
            start = self.start_distance(projected, task)
            picks = greedy_coreset(projected, num_picks, start, on_progress=bar.update)
        return self._gathered(train_loader, picks)

    def _patch_features(self, train_loader: BatchLoader, what: str) -> Iterator[tuple[Tensor, int]]:
        """Yield the patch features (R, D) of a batch and its number of images, batch by batch."""
        with self.bar(what, train_loader.num_images) as bar:
            for batch in train_loader:
                maps = self._feature_maps(batch)
                rows = self.net.embedding(maps)
                if self.config.setting.fewshot_feat_aug:
                    rows = with_rotations(rows, *maps[0].shape[2:])
                yield rows, len(batch.image)
                bar.update(len(batch.image))

    def _projected(self, train_loader: BatchLoader, task: Task) -> Tensor:
        projected, first = torch.empty(0), 0
        for rows, num_images in self._patch_features(train_loader, "embed"):
            num_rows = len(rows) // num_images * train_loader.num_images
            part = self.project(rows, num_rows, task.generator("projection"))
            projected = projected if first else part.new_empty(num_rows, part.shape[1])
            projected[first : first + len(part)] = part  # in place, so that there are never two copies
            first += len(part)
        return projected

    def _gathered(self, train_loader: BatchLoader, picks: Tensor) -> Tensor:
        """Return the patch features of the picked rows, in the order of the picks."""
        wanted, order = picks.sort()
        parts, first = [], 0
        for rows, _ in self._patch_features(train_loader, "memory bank"):
            inside = wanted[(wanted >= first) & (wanted < first + len(rows))]
            parts.append(rows[inside - first])
            first += len(rows)
        return torch.cat(parts)[order.argsort()]
