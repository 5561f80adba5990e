"""MVTec AD: ten objects and five textures.

Source: Bergmann, Fauser, Sattlegger, Steger, CVPR 2019; counts of the release.
"""

from dataset.mvtec_layout import Counts, MVTecLayout

COUNTS = {
    "bottle": Counts(209, 20, 63),
    "cable": Counts(224, 58, 92),
    "capsule": Counts(219, 23, 109),
    "carpet": Counts(280, 28, 89),
    "grid": Counts(264, 21, 57),
    "hazelnut": Counts(391, 40, 70),
    "leather": Counts(245, 32, 92),
    "metal_nut": Counts(220, 22, 93),
    "pill": Counts(267, 26, 141),
    "screw": Counts(320, 41, 119),
    "tile": Counts(230, 33, 84),
    "toothbrush": Counts(60, 12, 30),
    "transistor": Counts(213, 60, 40),
    "wood": Counts(247, 19, 60),
    "zipper": Counts(240, 32, 119),
}


class MVTec2D(MVTecLayout):
    """<root>/<category>/{train,test,ground_truth}/<kind>/, masks `<stem>_mask.png`."""

    published = COUNTS
    classes = tuple(COUNTS)
