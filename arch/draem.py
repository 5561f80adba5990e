"""DRAEM: one net repairs simulated defects, a second one finds them by comparing image and repair.

Source: Zavrtanik et al., "DRAEM: A discriminatively trained reconstruction embedding for surface anomaly
detection", ICCV 2021, and the authors' code.
Differs from the source: textures are generated unless `_texture` names a folder such as DTD; the range of the
structural similarity is 1 (`_ssim_range: auto` is the code's guess); colours are RGB. `_texture: self` is an
addition.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR

from arch.base import NORMAL_ONLY, Prediction, Runtime
from arch.kinds.gradient import GradientMethod
from arch.kinds.sampling import drawn_images
from arch.runtime import ImageReader
from augmentation.simulated_defect import DefectSimulator, Simulated
from augmentation.texture import generated_textures, shifted_images
from configuration.config import RunConfig
from data_io.records import BatchLoader, ScoringBatch, Task, TrainBatch
from loss_function.focal import focal_loss
from loss_function.structural_similarity import structural_similarity_loss
from models.draem.net_draem import MULTIPLE, DraemNet, image_score

MILESTONES = (0.8, 0.9)  # shares of the epochs after which the learning rate falls, as in the authors' code
logger = logging.getLogger(__name__)


class DRAEM(GradientMethod):
    """Train both nets from scratch; every epoch draws its images with replacement and its defects anew."""

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/draem.yaml that begin with an underscore."""

        reconstructive_width: int  # channels of the autoencoder's first block
        discriminative_width: int  # channels of the U-Net's first block
        lr: float
        gamma: float  # factor of the learning rate at each milestone
        steps_per_epoch: int | None  # None: as many as the training images fill batches
        texture: Literal["perlin", "self"] | Path
        p_anomaly: float  # this and the next seven are explained with the simulator
        p_rotate: float
        blend_min: float
        blend_max: float
        perlin_min: int
        perlin_max: int
        perlin_threshold: float
        retry_empty_mask: int
        ssim_range: float | Literal["auto"]
        image_score: Literal["avg21", "max"]
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            for key in ("reconstructive_width", "discriminative_width", "steps_per_epoch"):
                number = getattr(self, key)
                if number is not None and number < 1:
                    raise ValueError(f"_{key} must be at least 1, not {number}")
            if self.ssim_range != "auto" and self.ssim_range <= 0:
                raise ValueError(f"_ssim_range must be above 0 or auto, not {self.ssim_range}")
            self.simulator()

        def simulator(self) -> DefectSimulator:
            """Return what draws the defects."""
            return DefectSimulator(**{key.name: getattr(self, key.name) for key in fields(DefectSimulator)})

    nets = ("net_draem",)
    settings = NORMAL_ONLY
    setting_reason = "draem trains on normal images with simulated defects; labelled anomalies are not used"
    net: DraemNet
    params: Params
    texture_images: ImageReader

    @classmethod
    def unsupported(cls, config: RunConfig, params: Params) -> str | None:
        """Return why the nets, or the simulator, cannot take an image of this size; None if they can."""
        side, exponent = config.data.data_crop_size, params.perlin_max
        if side % MULTIPLE:
            return f"data_crop_size must be a multiple of {MULTIPLE}, not {side}"
        if 2**exponent >= side:
            return f"_perlin_max {exponent}: {2**exponent} cells in {side} pixels leave no noise; lower it"
        return None

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.net = DraemNet(params.reconstructive_width, params.discriminative_width).to(self.device)
        self.image_folder = params.texture if isinstance(params.texture, Path) else None
        self.simulator = params.simulator()

    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Open the folder of textures, if there is one; say once what the defects are made of."""
        if self.image_folder is not None:
            self.texture_images = runtime.folder_images(self.config.data.data_crop_size)
        sources = {
            "perlin": "generated textures; --set _texture=DIR takes the images of a folder, such as DTD",
            "self": "parts of the training images",
        }
        if task.step == 0:
            source = sources.get(str(self.params.texture), f"the images in {self.params.texture}")
            logger.info("draem: the defects of %s are made of %s", task.name, source)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for both nets."""
        return [Adam(self.net.parameters(), lr=self.params.lr)]

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        """Return a drop of the learning rate at two whole numbers of epochs."""
        milestones = [round(share * num_epochs) for share in MILESTONES]
        return [MultiStepLR(optimizer, milestones, self.params.gamma) for optimizer in optimizers]

    def epoch_rows(self, loader: BatchLoader, task: Task, epoch: int) -> Tensor:
        """Return rows that may repeat, for full batches."""
        count = (self.params.steps_per_epoch or len(loader)) * loader.batch_size
        generator = task.generator(f"order {epoch}")
        return torch.randint(loader.num_images, (count,), generator=generator)

    def loss(self, batch: TrainBatch) -> Tensor:
        """Return the errors of the repair against the clean image, and of the defects found."""
        with torch.autocast(self.device.type, enabled=False):  # colours need more than bfloat16's 8 bits
            clean, defective, mask = self._simulated(batch.image)
        repair, logits = self.net(defective)
        with torch.autocast(self.device.type, enabled=False):  # and so do means of squares
            repair = repair.float()
            similarity = structural_similarity_loss(repair, clean, self.params.ssim_range)
            found = focal_loss(logits.float().softmax(1), mask)
            return F.mse_loss(repair, clean) + similarity + found

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Return the probability of a defect; its largest local mean, or value, gives the image score."""
        _, logits = self.net(batch.image)
        probability = logits.float().softmax(1)[:, 1]
        score = image_score(probability) if self.params.image_score == "avg21" else probability.amax((1, 2))
        return Prediction(score, probability)

    def _simulated(self, image: Tensor) -> Simulated:
        """Return (B, 3, H, W) images without and with defects, and where these are."""
        generator = torch.default_generator  # seeded for every epoch; on the CPU, whatever the device
        texture = self._textures(image, self.simulator.num_defects(len(image), generator), generator)
        return self.simulator(image, texture, generator)

    def _textures(self, image: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Return (count, 3, H, W) textures in [0, 1]."""
        if self.params.texture == "self":
            return shifted_images(image, count, generator)
        if self.image_folder is None:
            return generated_textures(count, (image.shape[2], image.shape[3]), generator, self.device)
        return drawn_images(self.texture_images, count)
