"""IGD: codes of normal images fill a Gaussian, between codes too, and a decoder draws the images from them.

Source: Chen et al., "Deep One-Class Classification via Interpolated Gaussian Descriptor", AAAI 2022, and the
authors' code, of which this is the global model; the local one needs an encoder that comes with it only.
Differs from the source: the critic compares an interpolation with its own share (`_critic_target`); centre
and scale are those of all images and mirror images, and set once more at the end; the learning rate falls
after every epoch, not every step; the map's levels are in their places (`_map`); below 176 pixels MS-SSIM
has fewer scales, and its factors are clamped to 1e-6, below which their powers have no gradient. The image
score has the weights of the authors' final test at 256 pixels, not those of their validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, PolynomialLR

from arch.base import LAYER_NETS, NORMAL_ONLY, Prediction, Runtime
from arch.kinds.gradient import GradientMethod, Turns
from configuration.config import RunConfig
from data_io.records import BatchLoader, ScoringBatch, Task, TrainBatch, view_key, view_of
from loss_function.interpolated_gaussian import Reconstruction, critic_loss, gaussian_error
from models.backbones.backbone import Backbone
from models.backbones.row import POOLED
from models.igd.net_igd import LEAST_SIDE, IGDNet

HALF = 0.5  # of the images are mirrored, and of its own code is the largest share in an interpolation
DECAY = 0.9  # exponent of the learning rate's fall to 0, as in the authors' code
INTERPOLATION_WEIGHT = 0.1  # of the critic's judgement in the loss of head and decoder
REAL_SHARE = 0.2  # how far a restored image is moved towards the real one before the critic judges it


class IGD(GradientMethod):
    """Train head and decoder against the critic; pooled features of a training image are computed once.

    The next task, or the target of a transfer, goes on from the weights and the moments of Adam that there
    are (finetune), or starts anew (replace); centre and scale are always its own.
    """

    @dataclass(frozen=True)
    class Params:
        """The keys of 1_model_base/igd.yaml that begin with an underscore."""

        latent_dimension: int
        width: int  # channels of the largest maps
        data_range: float  # of normalised images
        hflip: bool  # mirror training images at random
        center_refresh_epochs: int  # epochs between two computations of centre and scale
        bn_mode: Literal["eval", "train"]
        critic_target: Literal["paired", "broadcast"]
        score_weights: tuple[float, ...]  # of the reconstruction error and of the Gaussian's
        map: Literal["centred", "stretched", "none"]
        base_lr: float
        beta1: float
        beta2: float
        weight_decay: float  # of head and decoder
        continual: Literal["finetune", "replace"]
        transfer: Literal["finetune", "replace"]

        def __post_init__(self) -> None:
            if min(self.latent_dimension, self.width, self.center_refresh_epochs) < 1:
                raise ValueError("_latent_dimension, _width and _center_refresh_epochs must be at least 1")
            if self.data_range <= 0:
                raise ValueError(f"_data_range must be above 0, not {self.data_range}")
            if len(self.score_weights) != 2:
                raise ValueError(f"_score_weights must be two numbers, not {len(self.score_weights)}")

    nets = ("net_igd", *LAYER_NETS)
    settings = NORMAL_ONLY
    setting_reason = "it learns from normal images alone, labelled anomalies would be learnt as normal"
    net: IGDNet
    params: Params
    backbone: Backbone

    @classmethod
    def unsupported(cls, config: RunConfig, params: Params) -> str | None:
        """Return why images of this size cannot be drawn; None if they can."""
        side = config.data.data_crop_size
        reason = f"data_crop_size {side}: net_igd takes a multiple of {LEAST_SIDE}"
        return reason if side % LEAST_SIDE else None

    def __init__(self, config: RunConfig, params: Params) -> None:
        super().__init__(config)
        self.backbone = Backbone(config.run.backbone, (POOLED,))
        sizes = params.latent_dimension, params.width, config.data.data_crop_size
        self.net = IGDNet(self.backbone.channels[POOLED], *sizes, params.bn_mode == "train").to(self.device)
        self.pooled: list[Tensor] = []  # (B, F) features of this task's training images and mirror images

    @torch.no_grad()
    def begin_task(self, loader: BatchLoader, task: Task, runtime: Runtime) -> None:
        """Read the features of all training images and their mirror images; set centre and scale."""
        sides = [torch.tensor(False), torch.tensor(True)][: 1 + self.params.hflip]
        batches = (_mirrored(batch, side) for batch in loader for side in sides)
        self.pooled = [batch.features[POOLED] for batch in batches]
        self.net.locate(self.pooled)

    def optimizers(self) -> Sequence[Optimizer]:
        """Return Adam for head and decoder, and Adam for the critic."""
        drawing = [*self.net.head.parameters(), *self.net.decoder.parameters()]
        lr, betas = self.params.base_lr, (self.params.beta1, self.params.beta2)
        return [
            Adam(drawing, lr, betas, weight_decay=self.params.weight_decay, fused=True),
            Adam(self.net.critic.parameters(), lr, betas, fused=True),
        ]

    def schedulers(self, optimizers: Sequence[Optimizer], num_epochs: int) -> Sequence[LRScheduler]:
        """Return polynomials that fall to 0."""
        return [PolynomialLR(optimizer, num_epochs, DECAY) for optimizer in optimizers]

    def turns(self, batch: TrainBatch, optimizers: Sequence[Optimizer]) -> Turns:
        """Yield the loss of head and decoder, then the critic's of what they have become."""
        if self.params.hflip:
            batch = _mirrored(batch, torch.rand(len(batch.image)) < HALF)
        net, image, feature = self.net, self.net.normalised(batch.image), batch.features[POOLED]
        code, restored = net(feature)
        share = (HALF * torch.rand(len(image))).to(code)
        net.critic.requires_grad_(False)  # the gradient passes through it, but it stays as it is
        found = Reconstruction(image, restored, self.params.data_range)
        error = found.error() + gaussian_error(code, net.centre, net.scale)
        judged = net.critic(net.interpolated(code, share))
        yield error.mean() + INTERPOLATION_WEIGHT * judged.square().mean(), optimizers[:1]
        net.critic.requires_grad_(True)
        with torch.no_grad():
            nearly_real = torch.lerp(net(feature)[1], image, REAL_SHARE)
            both = torch.cat([net.interpolated(code, share), nearly_real])
        judged, judged_real = net.critic(both).chunk(2)
        yield critic_loss(judged, share, judged_real, self.params.critic_target), optimizers[1:]

    def end_epoch(self, loader: BatchLoader, task: Task, epoch: int) -> bool:
        """Set centre and scale anew every few epochs, and by the last head; never end early."""
        if epoch + 1 == self.num_epochs(task):
            self.net.locate(self.pooled)
        elif (epoch + 1) % self.params.center_refresh_epochs == 0:
            self.net.set_scale(self.pooled)  # by the centre before, as in the authors' code
            self.net.set_centre(self.pooled)
        return False

    def predict_batch(self, batch: ScoringBatch) -> Prediction:
        """Add the error of the drawn image and that of its code; the map is the former, pixel by pixel."""
        net, params = self.net, self.params
        code, restored = net(batch.features[POOLED])
        found = Reconstruction(net.normalised(batch.image), restored, params.data_range)
        errors = torch.stack([found.error(), gaussian_error(code, net.centre, net.scale)], dim=1)
        image_score = (errors * errors.new_tensor(params.score_weights)).sum(1)
        return Prediction(image_score, None if params.map == "none" else found.map(params.map))


def _mirrored(batch: TrainBatch, rows: Tensor) -> TrainBatch:
    """Return the batch with the images of the rows (B,), or () for all, mirrored, under keys of their own."""
    image = torch.where(rows.to(batch.image.device).view(-1, 1, 1, 1), batch.image.flip(3), batch.image)
    key = torch.where(rows, view_key(batch.image_key, "mirrored", 1), batch.image_key)
    return view_of(batch, image, key)
