"""DRA's net: a trained backbone on an image pyramid, and four heads, each for one kind of anomaly."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.backbones.backbone import Backbone
from models.common.image_pyramid import image_pyramid
from models.common.instance_head import InstanceHead
from models.common.resizable import ResizableModule

HIDDEN = 256  # width of the holistic head


class HeadScores(NamedTuple):
    """What the heads say of images, each (B,).

    Args:
        holistic: how normal the whole image looks.
        seen: how much of it looks like labelled anomalies.
        pseudo: how much of it looks like made anomalies.
        composite: how much of its difference to the references looks anomalous.
    """

    holistic: Tensor
    seen: Tensor
    pseudo: Tensor
    composite: Tensor

    def image_score(self) -> Tensor:
        """Return the anomaly scores (B,)."""
        return self.seen + self.pseudo + self.composite - self.holistic


class DRANet(ResizableModule):
    """Score images by the mean of what the heads find at the scales of the pyramid.

    Args:
        backbone: with one layer, a map.
        num_scales: images of the pyramid.
        top_share: share of the positions that count; 0 or less for the plain mean.
    """

    def __init__(self, backbone: Backbone, num_scales: int, top_share: float) -> None:
        super().__init__()
        (self.layer,) = backbone.layers
        channels = backbone.channels[self.layer]
        self.num_scales = num_scales
        self.backbone = backbone
        self.holistic = nn.Sequential(nn.Linear(channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
        self.seen = InstanceHead(channels, top_share)
        self.pseudo = InstanceHead(channels, top_share)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.composite = InstanceHead(channels, top_share)
        for scale in range(num_scales):
            self.register_buffer(f"reference_{scale}", torch.empty(0))

    @property
    def references(self) -> list[Tensor]:
        """The mean feature maps (C, h_s, w_s) of the references, scale by scale; empty before training."""
        return [self.get_buffer(f"reference_{scale}") for scale in range(self.num_scales)]

    def features(self, image: Tensor) -> list[Tensor]:
        """Map a (B, 3, H, W) image in [0, 1] to its feature maps (B, C, h_s, w_s), scale by scale."""
        return [self.backbone(level)[self.layer] for level in image_pyramid(image, self.num_scales)]

    @torch.no_grad()
    def set_references(self, image: Tensor) -> None:
        """Keep the mean feature maps of reference images (R, 3, H, W), to score others by."""
        for scale, feature_map in enumerate(self.features(image)):
            setattr(self, f"reference_{scale}", feature_map.mean(0))

    def compare(
        self, features: Sequence[Tensor], references: Sequence[Tensor]
    ) -> tuple[HeadScores, list[Tensor]]:
        """Return what the heads say of images with these features, and the sum of their instance scores.

        Args:
            features: (B, C, h_s, w_s), scale by scale.
            references: (C, h_s, w_s) likewise.

        Returns:
            The scores, and the magnitudes (B, h_s, w_s) of the seen, pseudo and composite instance scores.
        """
        levels, instances = [], []
        for feature_map, reference in zip(features, references, strict=True):
            holistic = self.holistic(feature_map.mean(dim=(2, 3)))[:, 0].float().abs()
            seen, pseudo = self.seen(feature_map), self.pseudo(feature_map)
            composite = self.composite(self.residual(reference - feature_map))
            pooled = self.seen.pool(seen), self.pseudo.pool(pseudo), self.composite.pool(composite)
            levels.append((holistic, *pooled))
            instances.append(seen.abs() + pseudo.abs() + composite.abs())
        return HeadScores(*(torch.stack(scores).mean(0) for scores in zip(*levels, strict=True))), instances

    def forward(self, image: Tensor, num_references: int = 0) -> tuple[HeadScores, list[Tensor]]:
        """Return what `compare` says of (B, 3, H, W) images in [0, 1].

        Args:
            image: the references in front, if there are any; all go through the trunk together and share its
                batch statistics.
            num_references: images to compare the others with; 0: compare with the kept references.
        """
        features = self.features(image)
        if num_references == 0:
            return self.compare(features, self.references)
        references = [feature_map[:num_references].mean(0) for feature_map in features]
        return self.compare([feature_map[num_references:] for feature_map in features], references)
