"""The contract of a method: learn a task, score a batch; everything else happens outside."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, final

import torch
from torch import Tensor, nn

from arch.prediction import Prediction as Prediction
from arch.prediction import TaskPrediction as TaskPrediction
from arch.prediction import check
from arch.runtime import Runtime as Runtime
from configuration.config import Record, RunConfig
from configuration.errors import UserError
from data_io.records import NO_NEEDS, BatchLoader, Needs, ScoringBatch, Task
from models.backbones.backbone import Backbone

NORMAL_ONLY = ("vanilla", "fewshot", "continual", "noisy", "transfer")  # settings of methods without labels
LAYER_NETS = ("resnet18", "wide_resnet50", "efficientnet_lite0", "net_tiny", "timm/*")


class ModelBase(ABC):
    """A method. All that it learns hangs on `self.net`; a pretrained trunk hangs on `self.backbone`.

    Attributes:
        Params: frozen record of the keys of the method's YAML that begin with an underscore.
        nets: what `-n` may name; "timm/*" stands for any timm model with feature maps.
        settings: settings that the method can run in; `setting_reason` says why not in the others.
        paradigms: what `-p` may name.
        localizes: whether `anomaly_map` is given; an instance may decide by its keys.
        needs: what it needs besides images; an instance may decide by its keys.
        needs_grad: whether scoring needs gradients (maps by gradient); an instance may decide by its keys.
        has_frozen_backbone: whether the backbone stays as pretrained; only then batches have `features`.
        rotates_features: whether the method rotates feature maps for `-ffa`.
        train_aug_types: what `-tag` may name: how the method changes its training images.
        image_folder: a folder of images besides the data set's that the method wants, such as textures.
    """

    @dataclass(frozen=True)
    class Params:
        """Keys of the method's own; this method has none."""

    nets: ClassVar[tuple[str, ...]]
    settings: ClassVar[tuple[str, ...]]
    setting_reason: ClassVar[str] = ""
    paradigms: ClassVar[tuple[str, ...]] = ("c2d",)
    has_frozen_backbone: ClassVar[bool] = True
    rotates_features: ClassVar[bool] = False
    train_aug_types: ClassVar[tuple[str, ...]] = ("normal",)

    localizes: bool = True
    needs: Needs = NO_NEEDS
    needs_grad: bool = False

    net: nn.Module
    params: Record
    backbone: Backbone | None = None
    image_folder: Path | None = None

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.params = config.params
        self.device = torch.device(config.run.device)

    if not TYPE_CHECKING:  # a type checker would take every name for an attribute

        def __getattr__(self, name: str) -> NoReturn:
            """Say in one line what a method has forgotten; only names that are not there come here."""
            beginning = "its __init__ begins with super().__init__(config)"
            mends = {
                "net": "its __init__ sets self.net",
                **dict.fromkeys(("config", "params", "device"), beginning),
            }
            if name in mends:
                place = f"{type(self).__module__}: {type(self).__name__}"
                raise UserError(f"{place} has no self.{name}; {mends[name]}")
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")

    @abstractmethod
    def train_model(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Learn one task; called again for the next step of a continual or transfer run."""

    @abstractmethod
    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Score one batch of test images."""

    @classmethod
    def unsupported(cls, config: RunConfig, params: Any) -> str | None:
        """Return why this configuration cannot be run, where that depends on keys; None if it can."""
        return None

    def later_mode(self) -> str:
        """Return what the keys say shall become of what was learned, once the next task comes."""
        key = "transfer" if self.config.setting_row.order == "pair" else "continual"
        return str(getattr(self.params, key, "finetune"))

    def mode(self, task: Task) -> str:
        """Return what becomes of what was learned before: replace at step 0, else as the keys say."""
        return self.later_mode() if task.step > 0 else "replace"

    def freeze_backbone(self) -> None:
        """Fix the backbone if it is a frozen one; its weights are in place now, but not for good."""
        if self.backbone is not None and self.has_frozen_backbone:
            self.backbone.freeze()

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
