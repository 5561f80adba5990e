"""MVTec LOCO AD: structural and logical anomalies, several masks per image.

Source: Bergmann, Batzner, Fauser, Sattlegger, Steger, IJCV 130, 2022.
"""

import json
from dataclasses import replace

from configuration.errors import UserError
from configuration.text import read_text
from dataset.base import Saturation
from dataset.mvtec_layout import RESTORE, Counts, Expected, MVTecLayout

COUNTS = {
    "breakfast_box": Counts(351, 102, 173),
    "screw_bag": Counts(360, 122, 219),
    "pushpins": Counts(372, 138, 172),
    "splicing_connectors": Counts(360, 119, 193),
    "juice_bottle": Counts(335, 94, 236),
}


class MVTecLOCO(MVTecLayout):
    """<category>/{train,test}/<kind>/, masks `ground_truth/<kind>/<stem>/<000>.png`, one per defect.

    The order of the classes is the one of the users' task ids, not the alphabet's. The validation
    folder is not trained on.
    """

    published = COUNTS
    classes = tuple(COUNTS)

    def saturation(self, task_id: int) -> dict[int, Saturation]:
        """Read defects_config.json: the grey value of a mask -> when its defect counts as found (section 4).

        Raises:
            UserError: the file is missing or is not what the release holds.
        """
        path = self.category_folder(task_id) / "defects_config.json"
        try:
            rows = json.loads(read_text(path, RESTORE))
            return {
                int(row["pixel_value"]): Saturation(
                    defect_name=row["defect_name"],
                    threshold=float(row["saturation_threshold"]),
                    relative=bool(row["relative_saturation"]),
                )
                for row in rows
            }
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: not what the release holds ({reason}); {RESTORE}") from error

    def expected(self, task_id: int) -> Expected:
        """Return what the doctor holds one class against: masks have the grey values of their defects."""
        return replace(super().expected(task_id), mask_values=frozenset({0, *self.saturation(task_id)}))
