"""The contract of a method: learn a task, score a batch; everything else happens outside."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from arch.prediction import Prediction as Prediction
from arch.prediction import TaskPrediction as TaskPrediction
from arch.prediction import check
from configuration.config import RunConfig
from data_io.records import Bar, BatchLoader, ImageReader, ScoringBatch, Task, no_bar
from models.common.backbone import Backbone

ALL_SETTINGS = ("vanilla", "semi", "fewshot", "continual", "noisy", "transfer")
LAYER_NETS = ("resnet18", "wide_resnet50", "net_tiny", "timm/*")


class ModelBase(ABC):
    """A method. All that it learns hangs on `self.net`; a pretrained trunk hangs on `self.backbone`.

    Attributes:
        Params: frozen record of the keys of the method's YAML that begin with an underscore.
        nets: what `-n` may name; "timm/*" stands for any timm model with feature maps.
        settings: settings that the method can run in; `setting_reason` says why not in the others.
        localizes: whether `anomaly_map` is given; an instance may decide by its keys.
        has_frozen_backbone: whether the backbone stays as pretrained; only then are its features cached.
        rotates_features: whether the method rotates feature maps for `-ffa`.
        needs_labels: whether training batches must carry labels and masks.
        needs_reference: whether the method asks for normal reference images.
        needs_grad: whether scoring needs gradients (maps by gradient); an instance may decide by its keys.
        train_aug_types: what `-tag` may name: how the method changes its training images.
        image_folder: a folder of images besides the data set's that the method wants, such as textures.
        folder_images: the images of that folder, of the data set's size; set by the runner.
        feature_reader: reads frozen features through the cache; set by the runner.
        bar: makes a progress bar for work of a kind and a length; set by the runner.
        keep: puts the state of an unfinished training on disk; set by the runner.
        interrupted: such a state, for `train_model` to go on from; methods that are not trained ignore it.
    """

    @dataclass(frozen=True)
    class Params:
        """Keys of the method's own; this method has none."""

    nets: ClassVar[tuple[str, ...]]
    settings: ClassVar[tuple[str, ...]] = ALL_SETTINGS
    setting_reason: ClassVar[str] = ""
    has_frozen_backbone: ClassVar[bool] = True
    rotates_features: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    needs_reference: ClassVar[bool] = False
    train_aug_types: ClassVar[tuple[str, ...]] = ("normal",)

    localizes: bool = True
    needs_grad: bool = False

    net: nn.Module
    backbone: Backbone | None = None
    image_folder: Path | None = None
    folder_images: ImageReader | None = None
    feature_reader: Callable[[ScoringBatch], dict[str, Tensor]] | None = None
    bar: Callable[[str, int], AbstractContextManager[Bar]] = staticmethod(no_bar)
    keep: Callable[[dict[str, Any]], None] = staticmethod(lambda _state: None)
    interrupted: Mapping[str, Any] | None = None

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.device = torch.device(config.run.device)

    @abstractmethod
    def train_model(self, train_loader: BatchLoader, task: Task) -> None:
        """Learn one task; called again for the next step of a continual or transfer run."""

    @abstractmethod
    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score one batch of test images."""

    @classmethod
    def unsupported(cls, config: RunConfig) -> str | None:
        """Return why this configuration cannot be run, where that depends on keys; None if it can."""
        return None

    def freeze_backbone(self) -> None:
        """Fix the backbone if it is a frozen one; its weights are in place now, but not for good."""
        if self.backbone is not None and self.has_frozen_backbone:
            self.backbone.freeze()

    def features(self, batch: ScoringBatch) -> dict[str, Tensor]:
        """Return the feature maps (B, C, h, w) by layer, frozen ones from the cache if it has them."""
        if self.feature_reader is not None:
            return self.feature_reader(batch)
        assert self.backbone is not None, "only a method with a backbone reads features"
        return self.backbone.extract(batch.image) if self.backbone.frozen else self.backbone(batch.image)

    def draw_folder_images(self, count: int) -> Tensor:
        """Return (count, 3, H, W) images in [0, 1] of the method's folder, drawn with replacement."""
        assert self.folder_images is not None, "only a method that names an image folder draws from it"
        return self.folder_images.read(torch.randint(len(self.folder_images), (count,))).float().div_(255)

    def scoring_net(self) -> nn.Module:
        """Return what stands in for `net` while a test set is scored.

        It is a copy whose trained backbones are frozen, which makes them faster, or `net` itself without any.
        """
        if not any(isinstance(part, Backbone) and not part.frozen for part in self.net.modules()):
            return self.net
        scoring = deepcopy(self.net)
        for part in list(scoring.modules()):
            if isinstance(part, Backbone):
                part.freeze()
        return scoring

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        trained = self.net
        trained.eval()
        self.net = self.scoring_net()
        try:
            with torch.set_grad_enabled(self.needs_grad):
                yield
        finally:
            self.net = trained

    @final
    def prediction(self, test_loader: Iterable[ScoringBatch]) -> TaskPrediction:
        """Score a test set: the only test loop of the project.

        Raises:
            FloatingPointError: a score or a map is not finite.
        """
        scores: list[Tensor] = []
        maps: list[Tensor] = []
        seconds = 0.0
        with self._scoring():
            for batch in test_loader:
                start = time.perf_counter()
                prediction = self.predict_batch(batch)
                scores.append(prediction.image_score.detach().float().cpu())
                if prediction.anomaly_map is not None:
                    maps.append(prediction.anomaly_map.detach().float().cpu())
                seconds += time.perf_counter() - start  # the copies to the host have synchronised the device
                check(prediction, batch, type(self).__name__)
        anomaly_map = torch.cat(maps).numpy() if maps else None
        return TaskPrediction(torch.cat(scores).numpy(), anomaly_map, seconds)

    def state_dict(self) -> dict[str, Tensor]:
        """Return all that was learned, as tensors."""
        return dict(self.net.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.net.load_state_dict(state)

    def run_state(self) -> dict[str, Any]:
        """Return what an interrupted run needs to go on with its next step."""
        return {"learned": self.state_dict()}

    def load_run_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `run_state` returned."""
        self.load_state_dict(state["learned"])
        self.net.to(self.device)
