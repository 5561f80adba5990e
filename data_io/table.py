"""Decoded rows of one shape and type: read once, in parallel, held on the device, in memory or on disk."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_io.tensor_store import TensorStore

MEBIBYTE = 2**20
Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
Array = NDArray[Any]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Storage:
    """How the rows of tables are read, and where they may be kept.

    Args:
        device: where batches are wanted.
        memory_mb: bound on what a table holds in memory, in MiB.
        num_workers: decoding threads.
        store: the cache of decoded rows on disk; None for none.
        progress: wraps an iterable, given what it does and its length, with a progress bar.
    """

    device: torch.device
    memory_mb: int
    num_workers: int
    store: TensorStore | None = None
    progress: Progress = lambda items, _what, _total: items


@dataclass(frozen=True)
class Decoder:
    """What makes a row of a file.

    Args:
        name: of what is made, in the cache on disk.
        shape: of a row.
        dtype: of a row.
        key: file -> 63-bit number that is equal for equal rows only.
        decode: file -> row; raises a UserError that names a broken file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    key: Callable[[Path], int]
    decode: Callable[[Path], Array]


class Table:
    """Rows of one shape and type, one for each file.

    Every row is decoded once when the table is made, so a broken file ends the run before any training.
    Where the table goes: on the device if it takes at most half of its free memory, else in (pinned) memory
    up to a bound, else it stays on disk and rows are read when they are asked for.

    Args:
        paths: the files, each once.
        decoder: makes a row of a file.
        storage: how rows are read, and where they may be kept.

    Attributes:
        place: "device", "memory" or "disk".
        key: (N,) int64, the rows' keys.
        seconds: wall-clock time of the decoding, in seconds.
    """

    def __init__(self, paths: Sequence[Path], decoder: Decoder, storage: Storage) -> None:
        start = time.perf_counter()
        self.paths = list(paths)
        self.device = storage.device
        self.key = torch.tensor([decoder.key(path) for path in self.paths])
        self._decoder = decoder
        self._storage = storage
        self._num_workers = max(1, storage.num_workers)
        self._row = {path: row for row, path in enumerate(self.paths)}
        size = len(self.paths) * int(np.prod(decoder.shape)) * decoder.dtype.itemsize
        self.place = "memory" if size <= storage.memory_mb * MEBIBYTE else "disk"
        self._table = self._decode_all()
        self.seconds = time.perf_counter() - start

    def _decode_all(self) -> Tensor | None:
        held = self.place == "memory"
        decoder, rows = self._decoder, range(len(self.paths))
        table = torch.empty((len(rows) if held else 0, *decoder.shape), dtype=decoder.dtype)
        with ThreadPoolExecutor(self._num_workers) as pool:
            decoded = _in_order(pool, self._decoded, rows, ahead=4 * self._num_workers)
            for row, values in zip(rows, self._storage.progress(decoded, "decode", len(rows)), strict=True):
                if held:
                    table[row] = torch.from_numpy(values)
        if not held:
            logger.info("the %s take more than data_memory_mb: read from disk batch by batch", decoder.name)
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

    def _decoded(self, row: int) -> Array:
        decoder, store = self._decoder, self._storage.store
        name = f"{int(self.key[row]):016x}"
        found = store.get(decoder.name, name) if store else None
        if found is not None:
            return found
        values = decoder.decode(self.paths[row])
        if store:
            store.put(decoder.name, name, values)
        return values

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.paths)

    def rows_of(self, paths: Iterable[Path]) -> Tensor:
        """Return the (N,) int64 rows of these files."""
        return torch.tensor([self._row[path] for path in paths], dtype=torch.int64)

    def read(self, rows: Tensor) -> Tensor:
        """Return the (B, ...) values of these rows on the device."""
        if self._table is not None:
            return self._table[rows.to(self._table.device)].to(self.device, non_blocking=True)
        with ThreadPoolExecutor(self._num_workers) as pool:
            values = list(pool.map(self._decoded, rows.tolist()))
        return torch.from_numpy(np.stack(values)).to(self.device)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], Array], rows: Iterable[int], ahead: int
) -> Iterator[Array]:
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
