"""COAD: 21 kinds of screws in four families. Never published, so bring your own folder."""

from dataset.mvtec_layout import MVTecLayout

FAMILIES = {"A": 8, "B": 7, "C": 4, "D": 2}


class COAD(MVTecLayout):
    """<root>/screw/<A1 ... D2>/{train,test,ground_truth}/<kind>/, masks `<stem>_mask.jpg`."""

    classes = tuple(
        f"screw/{family}{number}" for family, size in FAMILIES.items() for number in range(1, size + 1)
    )
    mask_threshold = 128  # JPEG leaves a grey border around every mask
    mask_values = None
