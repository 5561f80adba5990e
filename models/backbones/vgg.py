"""VGG-16 of torchvision: layer0 to layer3 are the maps of stride 2, 4, 8 and 16, before the poolings."""

from collections.abc import Sequence

from torch import Tensor, nn

from models.backbones.libraries import torchvision_models
from models.backbones.row import POOLED, BackboneRow

_LAYERS = {"layer0": 8, "layer1": 15, "layer2": 22, "layer3": 29}  # the ReLUs before its poolings


class Vgg16Trunk(nn.Module):
    """The convolutions of torchvision's VGG-16 without batch norm, up to the deepest map asked for.

    They start as those of torchvision, but no classifier is built, which would take most of the time.

    Args:
        layers: of layer0 to layer3 and pooled.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        vgg = torchvision_models().vgg
        deepest = "layer3" if POOLED in layers else max(layers)
        self.layers = {_LAYERS[layer]: layer for layer in layers if layer != POOLED}
        self.has_pooled = POOLED in layers
        self.features = vgg.make_layers(vgg.cfgs["D"])[: _LAYERS[deepest] + 1]
        for module in self.features:
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, H, W) image to its features by layer."""
        features = {}
        feature = image
        for index, module in enumerate(self.features):
            feature = module(feature)
            if index in self.layers:
                features[self.layers[index]] = feature
        if self.has_pooled:
            features[POOLED] = feature.mean(dim=(2, 3))
        return features


VGG16 = BackboneRow(
    name="vgg16",
    meaning="VGG-16 without batch norm, ImageNet weights of torchvision",
    build=Vgg16Trunk,
    source="torchvision:vgg16",
    licence="BSD-3-Clause",
    layers=tuple(_LAYERS),
)
