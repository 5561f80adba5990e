"""What a backbone's row says: how it is built, what it gives and takes, whose its weights are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

MAP_LAYERS = ("layer1", "layer2", "layer3", "layer4")
POOLED = "pooled"  # the layer that is no map: one vector per image
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class MissingLayerError(ValueError):
    """A net has not the layers that are asked for.

    Args:
        message: what is missing.
        maps: the layers that it has.
    """

    def __init__(self, message: str, maps: Sequence[str]) -> None:
        super().__init__(message)
        self.maps = tuple(maps)


@dataclass(frozen=True)
class BackboneRow:
    """A pretrained net that gives feature maps.

    Args:
        name: what `-n` and `-bb` call it.
        meaning: what it is, for --list.
        build: makes the net with random weights, cut after the deepest of the layers asked for; it maps a
            normalised (B, 3, H, W) image to its features by layer.
        source: of its weights: an address, "torchvision:<model>", "timm", or "" for those that ship.
        licence: of its weights.
        layers: its maps; every net gives `pooled` as well.
        mean: of the three channels of its input, which range over [0, 1].
        std: likewise.
        input_size: height and width in pixels, of nets that take no other.
    """

    name: str
    meaning: str
    build: Callable[[Sequence[str]], nn.Module]
    source: str
    licence: str
    layers: tuple[str, ...] = MAP_LAYERS
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    input_size: tuple[int, int] | None = None

    def check_layers(self, layers: Sequence[str]) -> None:
        """Check that the net has these layers, and that there are any.

        Raises:
            MissingLayerError: it lacks one, or none is asked for.
        """
        available = (*self.layers, POOLED)
        unknown = [layer for layer in layers if layer not in available]
        if unknown or not layers:
            missing = ", ".join(unknown) or "(none asked for)"
            raise MissingLayerError(
                f"{self.name} has no layer {missing}; it has {', '.join(available)}", self.layers
            )
