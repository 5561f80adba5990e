"""ViT-B/16 of torchvision: layer1 to layer4 are the patch tokens after blocks 3, 6, 9 and 12."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones.libraries import torchvision_models
from models.backbones.row import MAP_LAYERS, POOLED, BackboneRow

_STEP = 3  # blocks from one layer to the next


class VitTrunk(nn.Module):
    """torchvision's vision transformer up to the deepest block asked for.

    Args:
        net: the transformer; it is cut in place.
        layers: of layer1 to layer4 and pooled.
    """

    def __init__(self, net: Any, layers: Sequence[str]) -> None:
        super().__init__()
        self.layers = frozenset(layers)
        self.conv_proj = net.conv_proj
        self.class_token = net.class_token
        self.encoder = net.encoder
        if POOLED not in layers:
            num_blocks = _STEP * (1 + MAP_LAYERS.index(max(layers)))
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
            layer = f"layer{number // _STEP}"
            if number % _STEP == 0 and layer in self.layers:
                features[layer] = tokens[:, 1:].mT.unflatten(2, patches.shape[2:])
        if POOLED in self.layers:
            features[POOLED] = self.encoder.ln(tokens)[:, 0]
        return features


def _vit_b_16(layers: Sequence[str]) -> VitTrunk:
    return VitTrunk(torchvision_models().vit_b_16(), layers)


VIT_B_16 = BackboneRow(
    name="vit_b_16",
    meaning="ViT-B/16, ImageNet weights of torchvision",
    build=_vit_b_16,
    source="torchvision:vit_b_16",
    licence="BSD-3-Clause",
    input_size=(224, 224),
)
