"""The decoded images of a run: read once, in parallel, then held on the device, in memory, or on disk."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from data_io.decode import Geometry, Pixels, decode_image
from data_io.records import Sample, derive_seed, file_identity
from data_io.tensor_store import TensorStore

MEBIBYTE = 2**20
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
logger = logging.getLogger(__name__)


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


class ImageTable:
    """All images of a run as rows of one uint8 table.

    Every image is decoded once when the table is made, so a broken file ends the run before any training.
    Where the table goes: on the device if it takes at most half of its free memory, else in (pinned) memory
    up to `memory_mb`, else it stays on disk and batches are read when they are asked for.

    Args:
        paths: the image files, each once.
        geometry: size of the decoded images.
        device: where batches are wanted.
        memory_mb: bound on what is held in memory, in MiB.
        num_workers: decoding threads.
        store: the cache of decoded images on disk; None for none.
        progress: wraps an iterable with a progress bar.

    Attributes:
        place: "device", "memory" or "disk".
        key: (N,) int64, the images' keys.
        seconds: wall-clock time of the decoding, in seconds.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        geometry: Geometry,
        device: torch.device,
        memory_mb: int,
        num_workers: int,
        store: TensorStore | None,
        progress: Progress,
    ) -> None:
        start = time.perf_counter()
        self.paths = list(paths)
        self._row = {path: row for row, path in enumerate(self.paths)}
        self.geometry = geometry
        self.device = device
        self.store = store
        self.num_workers = max(1, num_workers)
        self.key = torch.tensor([derive_seed(0, *file_identity(path), geometry) for path in self.paths])
        size = len(self.paths) * 3 * geometry.crop**2
        self.place = "memory" if size <= memory_mb * MEBIBYTE else "disk"
        self._table = self._decode_all(progress)
        self.seconds = time.perf_counter() - start

    def _decode_all(self, progress: Progress) -> Tensor | None:
        held = self.place == "memory"
        side = self.geometry.crop
        table = torch.empty((len(self.paths) if held else 0, 3, side, side), dtype=torch.uint8)
        rows = range(len(self.paths))
        with ThreadPoolExecutor(self.num_workers) as pool:
            decoded = _in_order(pool, self._pixels, rows, ahead=4 * self.num_workers)
            for row, pixels in zip(rows, progress(decoded, "decode", len(rows)), strict=True):
                if held:
                    table[row] = torch.from_numpy(pixels)
        if not held:
            logger.info("the images take more than data_memory_mb: read from disk batch by batch")
            return None
        return self._to_device(table)

    def _to_device(self, table: Tensor) -> Tensor:
        if self.device.type != "cuda":
            return table
        free, _ = torch.cuda.mem_get_info(self.device)
        if table.nbytes <= free // 2:
            self.place = "device"
            return table.to(self.device)
        return table.pin_memory()

    def _pixels(self, row: int) -> Pixels:
        name = f"{int(self.key[row]):016x}"
        found = self.store.get("images", name) if self.store else None
        if found is not None:
            return found.astype(np.uint8, copy=False)
        pixels = decode_image(self.paths[row], self.geometry)
        if self.store:
            self.store.put("images", name, pixels)
        return pixels

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def rows_of(self, samples: Iterable[Sample]) -> Tensor:
        """Return the (N,) int64 rows of these samples."""
        return torch.tensor([self._row[sample.path] for sample in samples], dtype=torch.int64)

    def read(self, rows: Tensor) -> Tensor:
        """Return the images of these rows as (B, 3, H, W) uint8 on the device."""
        if self._table is not None:
            return self._table[rows.to(self._table.device)].to(self.device, non_blocking=True)
        with ThreadPoolExecutor(self.num_workers) as pool:
            pixels = list(pool.map(self._pixels, rows.tolist()))
        return torch.from_numpy(np.stack(pixels)).to(self.device)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], Pixels], rows: Iterable[int], ahead: int
) -> Iterator[Pixels]:
    """Yield the results in order with a bounded number in flight: `pool.map` would hold them all."""
    waiting = iter(rows)
    futures = [pool.submit(work, row) for row in islice(waiting, ahead)]
    try:
        while futures:
            result = futures.pop(0).result()
            futures.extend(pool.submit(work, row) for row in islice(waiting, 1))
            yield result
    finally:
        for future in futures:
            future.cancel()
