"""ResNets of torchvision: layer1 to layer4 are the maps of stride 4, 8, 16 and 32."""

from collections.abc import Sequence

from models.backbones.libraries import torchvision_models
from models.backbones.row import BackboneRow
from models.backbones.stages import StageTrunk


def _resnet18(layers: Sequence[str]) -> StageTrunk:
    return StageTrunk(torchvision_models().resnet18(), layers, last="layer4")


def _wide_resnet50(layers: Sequence[str]) -> StageTrunk:
    return StageTrunk(torchvision_models().wide_resnet50_2(), layers, last="layer4")


RESNET18 = BackboneRow(
    name="resnet18",
    meaning="ResNet-18, ImageNet weights of torchvision",
    build=_resnet18,
    source="torchvision:resnet18",
    licence="BSD-3-Clause",
)
WIDE_RESNET50 = BackboneRow(
    name="wide_resnet50",
    meaning="Wide ResNet-50-2, ImageNet weights of torchvision",
    build=_wide_resnet50,
    source="torchvision:wide_resnet50_2",
    licence="BSD-3-Clause",
)
