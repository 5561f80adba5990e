"""Feature maps of one layer for an image and its smaller versions."""

from typing import ClassVar

from torch import Tensor

from models.backbones.backbone import Backbone
from models.common.image_pyramid import image_pyramid

MOST_SCALES = 7  # the last one of a 64 pixel image, by which maps are measured, has one pixel


def scale_names(num_scales: int) -> tuple[str, ...]:
    """Return what the maps of the scales are called, the largest first."""
    return tuple(f"scale{scale}" for scale in range(num_scales))


class PyramidBackbone(Backbone):
    """A backbone that looks at an image at several sizes, each half of the one before.

    Args:
        name: as of `Backbone`.
        layer: as of `Backbone`, of layer1 to layer4; every scale has this one.
        num_scales: number of sizes.

    Attributes:
        width: channels of the maps.
        stride: pixels between the neighbours of a map, at the size that the map is of.

    Raises:
        ValueError: the name or the layer does not exist, there are too many scales, or the net takes images
            of one size only.
    """

    extraction_batch: ClassVar[dict[str, int]] = {"cpu": 2, "cuda": 8}  # images of 768 pixels are large

    def __init__(self, name: str, layer: str, num_scales: int) -> None:
        self.layer = layer
        self.num_scales = num_scales
        if num_scales > MOST_SCALES:
            raise ValueError(f"there can be {MOST_SCALES} scales at the most, not {num_scales}")
        super().__init__(name, (layer,))
        self.layers = scale_names(num_scales)
        self.width, self.stride = self.channels[self.layers[0]], self.strides[self.layers[0]]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, H, W) image in [0, 1] to maps (B, C, h, w), those of the next scale half as large.

        Raises:
            ValueError: the net takes images of one size only.
        """
        if self.input_size is not None:
            raise ValueError(
                f"{self.name} takes images of {self.input_size[0]} pixels only, not of several sizes"
            )
        levels = image_pyramid((image - self.mean) / self.std, self.num_scales)
        maps = [self.trunk(level)[self.layer] for level in levels]
        return dict(zip(scale_names(self.num_scales), maps, strict=True))

    def fingerprint(self) -> str:
        """Return a hash of what the features depend on, the layer among it, which the scales' names hide."""
        return f"{super().fingerprint()}-{self.layer}"
