"""Any timm model that gives feature maps: layer1 to layer4 are those of stride 4, 8, 16 and 32."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.backbones.libraries import timm
from models.backbones.row import POOLED, BackboneRow

PREFIX = "timm/"
_LAYERS = {4: "layer1", 8: "layer2", 16: "layer3", 32: "layer4"}  # by stride


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


def timm_row(name: str) -> BackboneRow:
    """Return the row of a timm model, read off a net without weights.

    Raises:
        ValueError: timm has no such model, or it gives no feature maps.
    """
    model = name.removeprefix(PREFIX)
    try:
        with torch.device("meta"):
            net = timm().create_model(model, features_only=True)
        levels, config = net.feature_info, net.pretrained_cfg
    except (RuntimeError, AttributeError, ValueError, OSError) as error:  # the last: no network for hf_hub:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"timm gives no feature maps of a model '{model}' ({reason})") from error
    by_layer = {
        _LAYERS[stride]: index
        for stride, index in zip(levels.reduction(), levels.out_indices, strict=True)
        if stride in _LAYERS
    }
    return BackboneRow(
        name=name,
        meaning="a timm model",
        build=partial(_build, model, by_layer),
        source="timm",
        licence=config.get("license") or "see its card",
        layers=tuple(by_layer),
        mean=config["mean"],
        std=config["std"],
        input_size=config["input_size"][1:] if config.get("fixed_input_size") else None,
    )


def _build(model: str, by_layer: Mapping[str, int], layers: Sequence[str]) -> TimmTrunk:
    used = sorted(by_layer) if POOLED in layers else sorted(set(layers))
    indices = [by_layer[layer] for layer in used]
    return TimmTrunk(timm().create_model(model, features_only=True, out_indices=indices), used)
