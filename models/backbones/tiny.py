"""net_tiny, the backbone that ships with the project; it ends at layer3."""

from collections.abc import Sequence

from models.backbones.net_tiny import NetTiny
from models.backbones.row import MAP_LAYERS, BackboneRow
from models.backbones.stages import StageTrunk


def _net_tiny(layers: Sequence[str]) -> StageTrunk:
    return StageTrunk(NetTiny(), layers, last="layer3")


NET_TINY = BackboneRow(
    name="net_tiny",
    meaning="small convolutional net whose weights ship in checkpoints/",
    build=_net_tiny,
    source="",
    licence="Apache-2.0",
    layers=MAP_LAYERS[:3],
)
