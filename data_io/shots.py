"""Few-shot copies: each shot followed by what augmentation makes of it."""

import torch
from torch import Tensor

from augmentation.fewshot import augment
from data_io.images import HeldImages
from data_io.records import derive_seed
from data_io.steps import ShotCopies
from data_io.table import Table


def augmented(
    table: Table, rows: Tensor, mask: Tensor | None, copies: ShotCopies, generator: torch.Generator
) -> tuple[HeldImages, Tensor | None]:
    """Return each of these images followed by its generated copies, which have keys of their own.

    The masks (N, H, W) are transformed with their images.
    """
    image, mask = augment(table.read(rows), mask, copies.kinds, copies.count, generator)
    what = (copies.kinds, 1 + copies.count, generator.initial_seed())
    keys = [
        key if copy == 0 else derive_seed(key, *what, position, copy)
        for position, key in enumerate(table.key[rows].tolist())
        for copy in range(1 + copies.count)
    ]
    return HeldImages(image, torch.tensor(keys)), mask
