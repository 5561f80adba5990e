"""MPDD, metal parts defect detection: painted metal parts in varying pose and light.

Source: Jezek, Jonak, Burget, Dvorak, Skotak, ICUMT 2021.
"""

from dataset.mvtec_layout import Counts, MVTecLayout

COUNTS = {
    "bracket_black": Counts(289, 32, 47),
    "bracket_brown": Counts(185, 26, 51),
    "bracket_white": Counts(110, 30, 30),
    "connector": Counts(128, 30, 14),
    "metal_plate": Counts(54, 26, 71),
    "tubes": Counts(122, 32, 69),
}


class MPDD(MVTecLayout):
    """<root>/<category>/{train,test,ground_truth}/<kind>/, masks `<stem>_mask.png`."""

    published = COUNTS
    classes = tuple(COUNTS)
