"""EfficientNet-B5 of torchvision; the map of stride 32, layer4, is that of stage 6 of 7."""

from collections.abc import Sequence

from models.backbones.libraries import torchvision_models
from models.backbones.row import BackboneRow
from models.backbones.stages import StageTrunk

_STAGES = {"layer1": "2", "layer2": "3", "layer3": "5", "layer4": "6"}  # layer4 is not the last


def _efficientnet_b5(layers: Sequence[str]) -> StageTrunk:
    net = torchvision_models().efficientnet_b5().features
    return StageTrunk(net, layers, last="8", stages=_STAGES)


EFFICIENTNET_B5 = BackboneRow(
    name="efficientnet_b5",
    meaning="EfficientNet-B5, ImageNet weights of torchvision",
    build=_efficientnet_b5,
    source="torchvision:efficientnet_b5",
    licence="BSD-3-Clause",
)
