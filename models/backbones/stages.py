"""A net whose children run one after another, cut after the deepest layer in use."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from models.backbones.row import MAP_LAYERS, POOLED


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
