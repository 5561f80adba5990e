"""The ground truth of a run's test images: read in parallel, kept in the cache like the images."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from configuration.errors import UserError
from data_io.decode import Geometry, Pixels, blank_mask, decode_mask, highest_grey
from data_io.records import Sample, derive_seed, file_identity
from data_io.table import Decoder, Storage, Table
from dataset.base import DatasetBase, Saturation


@dataclass(frozen=True)
class MaskReader:
    """Read masks in the geometry of their images.

    Args:
        size: what a mask is resized to before the crop, in pixels; None keeps each image's own size.
        crop: side of the central crop, in pixels; None: the share of `size` that the image's crop keeps.
        geometry: of the images.
        threshold: smallest grey value that counts as marked.
        storage: the cache of decoded masks, and how they are read.
    """

    size: int | None
    crop: int | None
    geometry: Geometry
    threshold: float
    storage: Storage

    def read(self, samples: Sequence[Sample]) -> dict[Sample, Pixels | None]:
        """Return each sample's mask (h, w) uint8; None where an anomalous image has none or an empty one.

        Raises:
            UserError: a mask cannot be read or has another size than its image.
        """
        with ThreadPoolExecutor(max(1, self.storage.num_workers)) as pool:
            masks = self.storage.progress(pool.map(self._mask, samples), "masks", len(samples))
            return dict(zip(samples, masks, strict=True))

    def _mask(self, sample: Sample) -> Pixels | None:
        if not sample.image_label:
            return blank_mask(sample, self.size, self.crop, self.geometry)
        present = [path for path in sample.mask_paths if path.exists()]
        if not present:
            return None
        store = self.storage.store
        if store is None:
            return self._decoded(sample)
        parts = (*map(file_identity, present), self.size, self.crop, self.geometry, self.threshold)
        name = f"{derive_seed(0, *parts):016x}"
        found = store.get("masks", name)
        if found is None:
            found = self._decoded(sample)
            store.put("masks", name, np.zeros((0, 0), np.uint8) if found is None else found)
        return found if found is not None and found.size else None

    def _decoded(self, sample: Sample) -> Pixels | None:
        return decode_mask(sample, self.size, self.crop, self.geometry, self.threshold)


_HIGHEST = Decoder(
    name="highest grey values",
    shape=(1,),
    dtype=torch.uint8,
    key=lambda path: derive_seed(0, *file_identity(path), "highest grey value"),
    decode=lambda path: np.array([highest_grey(path)], np.uint8),
)


def check_grey_values(
    samples: Sequence[Sample], saturation: Mapping[int, Saturation] | None, storage: Storage
) -> None:
    """Check, before anything is trained, that the grey value of every mask stands for a kind of defect.

    Raises:
        UserError: one has a value that the release's configuration does not know.
    """
    paths = list(dict.fromkeys(path for sample in samples for path in sample.mask_paths if path.exists()))
    if not paths or saturation is None:
        return
    found = Table(paths, _HIGHEST, storage).read(torch.arange(len(paths)))[:, 0].tolist()
    for path, value in zip(paths, found, strict=True):
        if value and value not in saturation:
            raise UserError(f"{path}: grey value {value} is not in defects_config.json; restore the mask")


def mask_threshold(wanted: float | None, dataset: DatasetBase) -> float:
    """Return the grey value from which masks mark: as wanted, 1 to 255 or a share, else its own."""
    if wanted is None:
        return dataset.mask_threshold
    return wanted if wanted >= 1 else wanted * 255
