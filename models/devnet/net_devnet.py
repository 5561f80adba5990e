"""DevNet's net: a trained backbone on an image pyramid, and one instance head for all scales."""

import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.common.image_pyramid import image_pyramid
from models.common.instance_head import InstanceHead


class DeviationNet(nn.Module):
    """Score images by the mean of what the head finds at the scales of the pyramid.

    Args:
        backbone: with one layer, a map.
        num_scales: images of the pyramid.
        top_share: share of the positions that count; 0 or less for the plain mean.
    """

    def __init__(self, backbone: Backbone, num_scales: int, top_share: float) -> None:
        super().__init__()
        (self.layer,) = backbone.layers
        self.num_scales = num_scales
        self.backbone = backbone
        self.head = InstanceHead(backbone.channels[self.layer], top_share)

    def instances(self, image: Tensor) -> list[Tensor]:
        """Map a (B, 3, H, W) image in [0, 1] to its signed instance scores (B, h_s, w_s), scale by scale."""
        levels = image_pyramid(image, self.num_scales)
        return [self.head(self.backbone(level)[self.layer]) for level in levels]

    def pool(self, instance_score: list[Tensor]) -> Tensor:
        """Map what `instances` returned to image scores (B,)."""
        return torch.stack([self.head.pool(level) for level in instance_score]).mean(0)

    def forward(self, image: Tensor) -> Tensor:
        """Map a (B, 3, H, W) image in [0, 1] to image scores (B,)."""
        return self.pool(self.instances(image))

    def explain(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return image scores (B,), and (B, H, W) how much each pixel of the normalised image moves them.

        The latter is the sum over the channels of the magnitude of the gradient. In evaluation mode no image
        depends on another, so the gradient of the sum has every image's own.
        """
        image = image.detach().requires_grad_()
        with torch.autocast(image.device.type, enabled=False):  # in which small gradients vanish
            score = self(image)
            (gradient,) = torch.autograd.grad(score.sum(), image)
        return score.detach(), (gradient * self.backbone.std).abs().sum(1)
