"""Trunks: torchvision's, timm's and our own nets, cut after the deepest layer in use."""

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from models.common.net_tiny import NetTiny
from models.common.vig import INPUT_SIDE, VIG_NETS, Vig, block_names

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

MAP_LAYERS = ("layer1", "layer2", "layer3", "layer4")
POOLED = "pooled"

_RESNETS = {"resnet18": "resnet18", "wide_resnet50": "wide_resnet50_2"}  # our name -> torchvision's
_VGG16_LAYERS = {"layer0": 8, "layer1": 15, "layer2": 22, "layer3": 29}  # the ReLUs before its poolings
_EFFICIENTNET_STAGES = {"layer1": "2", "layer2": "3", "layer3": "5", "layer4": "6"}  # layer4 is not the last
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_TIMM_STRIDES = {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"}
_VIT_INPUT = (224, 224)  # pixels
_VIG_MEAN = _VIG_STD = (0.5, 0.5, 0.5)  # of the authors' weights
_VIT_STEP = 3  # layer1..layer4 are blocks 3, 6, 9 and 12


class Trunk(NamedTuple):
    """A cut net, and what its input must look like.

    Args:
        net: maps a normalised (B, 3, H, W) image to its features by layer.
        mean: of the three channels, which range over [0, 1].
        std: likewise.
        input_size: height and width in pixels, of nets that take no other.
    """

    net: nn.Module
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    input_size: tuple[int, int] | None = None


def build_trunk(name: str, layers: Sequence[str]) -> Trunk:
    """Build a net by its name, with random weights.

    Raises:
        ValueError: the name or a layer does not exist.
    """
    if name.startswith("timm/"):
        return _build_timm(name, layers)
    if name == "net_tiny":
        _check_layers(name, layers, MAP_LAYERS[:3])
        return Trunk(StageTrunk(NetTiny(), layers, last="layer3"))
    if name == "vgg16":
        _check_layers(name, layers, tuple(_VGG16_LAYERS))
        return Trunk(Vgg16Trunk(layers))
    if name == "vit_b_16":
        _check_layers(name, layers, MAP_LAYERS)
        return Trunk(VitTrunk(_torchvision_models().vit_b_16(), layers), input_size=_VIT_INPUT)
    if name in _RESNETS:
        _check_layers(name, layers, MAP_LAYERS)
        net = getattr(_torchvision_models(), _RESNETS[name])()
        return Trunk(StageTrunk(net, layers, last="layer4"))
    if name == "efficientnet_b5":
        _check_layers(name, layers, MAP_LAYERS)
        net = _torchvision_models().efficientnet_b5().features
        return Trunk(StageTrunk(net, layers, last="8", stages=_EFFICIENTNET_STAGES))
    if name in VIG_NETS:
        shape = VIG_NETS[name]
        _check_layers(name, layers, block_names(shape))
        return Trunk(Vig(shape, layers), _VIG_MEAN, _VIG_STD, (INPUT_SIDE, INPUT_SIDE))
    known = ", ".join(
        [*_RESNETS, "efficientnet_b5", "vgg16", "vit_b_16", *VIG_NETS, "net_tiny", "timm/<model>"]
    )
    raise ValueError(f"no backbone is called '{name}'; there are {known}")


class StageTrunk(nn.Module):
    """The children of a net, one after another, up to the deepest one asked for.

    Args:
        net: a net whose children run in their order.
        layers: of layer1 to layer4 and pooled.
        last: the child that gives the last feature map.
        stages: layer -> the child that gives its map; None where children are called like layers.
    """

    def __init__(
        self, net: nn.Module, layers: Sequence[str], last: str, stages: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        stages = stages or {layer: layer for layer in MAP_LAYERS}
        self.layer_of = {stages[layer]: layer for layer in layers if layer != POOLED}
        self.gives_pooled = POOLED in layers
        deepest = last if self.gives_pooled else max(self.layer_of)
        for name, child in net.named_children():
            self.add_module(name, child)
            if name == deepest:
                break

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, H, W) image to its features by layer."""
        features = {}
        feature = image
        for name, child in self.named_children():
            feature = child(feature)
            if name in self.layer_of:
                features[self.layer_of[name]] = feature
        if self.gives_pooled:
            features[POOLED] = feature.mean(dim=(2, 3))
        return features


class Vgg16Trunk(nn.Module):
    """The convolutions of torchvision's VGG-16 without batch norm, up to the deepest map asked for.

    They start as those of torchvision, but no classifier is built, which would take most of the time.

    Args:
        layers: of layer0 to layer3 and pooled.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__()
        vgg = _torchvision_models().vgg
        deepest = "layer3" if POOLED in layers else max(layers)
        self.layers = {_VGG16_LAYERS[layer]: layer for layer in layers if layer != POOLED}
        self.has_pooled = POOLED in layers
        self.features = vgg.make_layers(vgg.cfgs["D"])[: _VGG16_LAYERS[deepest] + 1]
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


class VitTrunk(nn.Module):
    """torchvision's vision transformer up to the deepest block asked for.

    Args:
        net: the transformer; it is cut in place.
        layers: of layer1 to layer4 and pooled.
    """

    def __init__(self, net: "VisionTransformer", layers: Sequence[str]) -> None:
        super().__init__()
        self.layers = frozenset(layers)
        self.conv_proj = net.conv_proj
        self.class_token = net.class_token
        self.encoder = net.encoder
        if POOLED not in layers:
            num_blocks = _VIT_STEP * (1 + MAP_LAYERS.index(max(layers)))
            self.encoder.layers = self.encoder.layers[:num_blocks]
            self.encoder.ln = nn.Identity()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, 224, 224) image to its features by layer."""
        patches = self.conv_proj(image)
        class_token = self.class_token.expand(image.shape[0], -1, -1)
        tokens = torch.cat([class_token, patches.flatten(2).mT], dim=1) + self.encoder.pos_embedding
        features = {}
        for number, block in enumerate(self.encoder.layers, start=1):
            tokens = block(tokens)
            layer = f"layer{number // _VIT_STEP}"
            if number % _VIT_STEP == 0 and layer in self.layers:
                features[layer] = tokens[:, 1:].mT.unflatten(2, patches.shape[2:])
        if POOLED in self.layers:
            features[POOLED] = self.encoder.ln(tokens)[:, 0]
        return features


class TimmTrunk(nn.Module):
    """A timm feature net whose list of maps is given names.

    Args:
        net: the feature net.
        names: of its maps, in their order.
    """

    def __init__(self, net: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self.names = tuple(names)
        self.is_channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map a (B, 3, H, W) image to all its maps and the mean of the last one."""
        maps = self.net(image)
        if self.is_channels_last:
            maps = [feature.permute(0, 3, 1, 2) for feature in maps]
        return {**dict(zip(self.names, maps, strict=True)), POOLED: maps[-1].mean(dim=(2, 3))}


def _torchvision_models() -> Any:  # a module
    return importlib.import_module("torchvision.models")  # takes seconds: not before a net is built


def _build_timm(name: str, layers: Sequence[str]) -> Trunk:
    timm: Any = importlib.import_module("timm")  # here, as most runs do not need it; its types are partial
    model = name.removeprefix("timm/")
    try:
        with torch.device("meta"):  # only to read which strides it has
            levels = timm.create_model(model, features_only=True).feature_info
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"timm gives no feature maps of a model '{model}' ({error})") from error
    by_layer = {
        _TIMM_STRIDES[stride]: index
        for stride, index in zip(levels.reduction(), levels.out_indices, strict=True)
        if stride in _TIMM_STRIDES
    }
    _check_layers(name, layers, tuple(by_layer))
    used = sorted(by_layer) if POOLED in layers else sorted(set(layers))
    net = timm.create_model(model, features_only=True, out_indices=[by_layer[layer] for layer in used])
    config = net.pretrained_cfg
    input_size = config["input_size"][1:] if config.get("fixed_input_size") else None
    return Trunk(TimmTrunk(net, used), config["mean"], config["std"], input_size)


def _check_layers(name: str, layers: Sequence[str], maps: Sequence[str]) -> None:
    available = (*maps, POOLED)
    unknown = [layer for layer in layers if layer not in available]
    if unknown or not layers:
        raise ValueError(
            f"{name} has no layer {', '.join(unknown) or '(none asked for)'}; it has {', '.join(available)}"
        )
