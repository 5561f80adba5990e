"""A folder of images that is no data set, such as one of textures."""

from pathlib import Path

import torch

from configuration.config import DataSection
from configuration.errors import UserError
from data_io.decode import Geometry
from data_io.images import ImageTable, Progress
from data_io.tensor_store import TensorStore
from dataset.base import images_in


def folder_images(
    folder: Path, data: DataSection, device: torch.device, store: TensorStore | None, progress: Progress
) -> ImageTable:
    """Decode every image in a folder and in the folders below it, squashed to the data set's size.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    below = sorted(path for path in folder.rglob("*") if path.is_dir()) if folder.is_dir() else []
    paths = [path for place in (folder, *below) for path in images_in(place)]
    if not paths:
        raise UserError(f"{folder}: no image in it or below it; name a folder that has some")
    side = data.data_crop_size
    return ImageTable(
        paths, Geometry(side, side), device, data.data_memory_mb, data.num_workers, store, progress
    )
