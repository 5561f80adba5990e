"""The sizes of ViG and pyramid ViG, with the weights of their authors; layers are block0, block1, ..."""

from functools import partial

from models.backbones.row import BackboneRow
from models.backbones.vig import INPUT_SIDE, Vig, VigShape, block_names

# Files that end in .pth.tar are what torch.save writes all the same, and are kept as .pth.
_RELEASES = "https://github.com/huawei-noah/Efficient-AI-Backbones/releases/download"


def _row(name: str, shape: VigShape, file: str, meaning: str) -> BackboneRow:
    return BackboneRow(
        name=name,
        meaning=meaning,
        build=partial(Vig, shape),
        source=f"{_RELEASES}/{file}",
        licence="BSD-3-Clause",
        layers=block_names(shape),
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        input_size=(INPUT_SIDE, INPUT_SIDE),
    )


VIG_TI = _row(
    "vig_ti_224_gelu",
    VigShape((12,), (192,)),
    "vig/vig_ti_74.5.pth",
    meaning="Vision GNN, tiny, ImageNet weights of its authors",
)
VIG_S = _row(
    "vig_s_224_gelu",
    VigShape((16,), (320,)),
    "vig/vig_s_80.6.pth",
    meaning="Vision GNN, small, ImageNet weights of its authors",
)
VIG_B = _row(
    "vig_b_224_gelu",
    VigShape((16,), (640,)),
    "vig/vig_b_82.6.pth",
    meaning="Vision GNN, base, ImageNet weights of its authors",
)
PVIG_TI = _row(
    "pvig_ti_224_gelu",
    VigShape((2, 2, 6, 2), (48, 96, 240, 384)),
    "pyramid-vig/pvig_ti_78.5.pth.tar",
    meaning="pyramid Vision GNN, tiny, ImageNet weights of its authors",
)
PVIG_S = _row(
    "pvig_s_224_gelu",
    VigShape((2, 2, 6, 2), (80, 160, 400, 640)),
    "pyramid-vig/pvig_s_82.1.pth.tar",
    meaning="pyramid Vision GNN, small, ImageNet weights of its authors",
)
PVIG_M = _row(
    "pvig_m_224_gelu",
    VigShape((2, 2, 16, 2), (96, 192, 384, 768)),
    "pyramid-vig/pvig_m_83.1.pth.tar",
    meaning="pyramid Vision GNN, medium, ImageNet weights of its authors",
)
PVIG_B = _row(
    "pvig_b_224_gelu",
    VigShape((2, 2, 18, 2), (128, 256, 512, 1024)),
    "pyramid-vig/pvig_b_83.66.pth.tar",
    meaning="pyramid Vision GNN, base, ImageNet weights of its authors",
)
VIG_NETS = tuple(row.name for row in (VIG_TI, VIG_S, VIG_B, PVIG_TI, PVIG_S, PVIG_M, PVIG_B))
