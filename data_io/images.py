"""The decoded images of a run, as rows of a table, and images that exist as a tensor only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from configuration.errors import UserError
from data_io.decode import Geometry, decode_image
from data_io.image_file import Levels
from data_io.records import derive_seed, file_identity
from data_io.table import Decoder, Storage, Table
from dataset.base import images_in

_RULES = 1  # of decoding; another number where they change, so that the cache is not read any more


class Images(Protocol):
    """Decoded images by row.

    Attributes:
        key: (N,) int64, the images' keys.
        device: where batches come out.
    """

    key: Tensor
    device: torch.device

    def read(self, rows: Tensor) -> Tensor:
        """Return the images of these rows as (B, 3, H, W) uint8 on the device."""


class HeldImages:
    """Images that exist as a tensor only, such as augmented ones.

    Args:
        image: (N, 3, H, W) uint8 on the device.
        key: (N,) int64.
    """

    def __init__(self, image: Tensor, key: Tensor) -> None:
        self.key = key
        self.device = image.device
        self._image = image

    def read(self, rows: Tensor) -> Tensor:
        """Return the images of these rows as (B, 3, H, W) uint8."""
        return self._image[rows.to(self.device)]


def image_table(
    paths: Sequence[Path],
    geometry: Geometry,
    storage: Storage,
    levels: Mapping[Path, Levels] = MappingProxyType({}),
) -> Table:
    """Decode image files into (N, 3, H, W) uint8.

    Args:
        paths: the files, each once.
        geometry: of every image.
        storage: how they are read, and where they may be kept.
        levels: black and white of those of more than 8 bits; see `image_file.to_rgb`.

    Raises:
        UserError: a file is missing, truncated or no image.
    """
    decoder = Decoder(
        name="images",
        shape=(3, geometry.crop, geometry.crop),
        dtype=torch.uint8,
        key=lambda path: derive_seed(_RULES, *file_identity(path), geometry, levels.get(path)),
        decode=lambda path: decode_image(path, geometry, levels.get(path)),
    )
    return Table(paths, decoder, storage)


def folder_images(folder: Path, side: int, storage: Storage) -> Table:
    """Decode every image in a folder and below it, such as one of textures, squashed to (side, side) pixels.

    Raises:
        UserError: there is none, or one cannot be read.
    """
    below = sorted(path for path in folder.rglob("*") if path.is_dir()) if folder.is_dir() else []
    paths = [path for place in (folder, *below) for path in images_in(place)]
    if not paths:
        raise UserError(f"{folder}: no image in it or below it; name a folder that has some")
    return image_table(paths, Geometry(side, side), storage)
