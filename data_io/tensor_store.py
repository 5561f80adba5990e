"""The cache on disk: arrays by name, each in a file of its own that is checked whenever it is read."""

import contextlib
import hashlib
import logging
import math
import os
import secrets
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

Array = NDArray[Any]

_CHECKSUM = struct.Struct("<I")  # CRC-32 over the name, the header and the payload that follow it
_HEADER = struct.Struct("<8s8sQ6Q")  # magic, dtype, number of dimensions, sizes
_OVERHEAD = _CHECKSUM.size + _HEADER.size
_MAGIC = b"IMIAD\x00\x00\x01"
_MAX_DIMENSIONS = 6
_KINDS = "biufc"  # plain numbers: nothing that holds a pointer is ever read from a file
_TEMPORARY = ".tmp"
_TEMPORARY_SECONDS = 3600.0  # a temporary file older than this was left by a killed process
_TOUCH_SECONDS = 600.0  # how exactly "least recently used" is kept; a touch per read would cost a disk write
_FILL = 0.9  # share of the limit that is left after the oldest entries went, so that they seldom go
_SCAN_SHARE = 0.1  # share of the limit that is written between two looks at what other processes wrote
_MEBIBYTE = 2**20
_THREADS = 4


@dataclass(frozen=True)
class CacheStatistics:
    """How many reads found their entry, and how many did not."""

    hits: int
    misses: int

    @property
    def status(self) -> str:
        """Return "warm" if nothing had to be computed, else "cold"."""
        return "warm" if self.hits and not self.misses else "cold"


class TensorStore:
    """Arrays on disk by namespace and key; safe for any number of threads and processes at once.

    An entry that is truncated, altered or in another entry's place counts as missing and is removed. When
    the disk is full or not writable, the store stops writing, says so in one line, and goes on reading.

    Args:
        folder: where the entries are; made on the first write.
        limit_mb: bound on their total in MiB, also bounded by half of what the disk could offer; the least
            recently used entries go first.
    """

    def __init__(self, folder: Path, limit_mb: int) -> None:
        self._folder = folder
        self._limit = limit_mb * _MEBIBYTE
        self._room = 0  # bytes that may be written before the folder is scanned again
        self._is_writing = self._limit > 0
        self._hits = 0
        self._misses = 0
        self._lock = threading.Lock()

    def get(self, namespace: str, key: str) -> Array | None:
        """Return the array of this name, a copy of the caller's own; None if it must be computed."""
        path = self._path(namespace, key)
        array = None
        try:
            array = _read(path, f"{namespace}\0{key}")
        except ValueError as error:
            _LOG.info("cache: removed a damaged entry, %s: %s", path, error)
            _remove(path)
        except OSError:  # missing, or unreadable: the same to the caller
            pass
        with self._lock:
            self._hits += array is not None
            self._misses += array is None
        return array

    def put(self, namespace: str, key: str, array: Array) -> None:
        """Keep an array of numbers of at most 6 dimensions under this name.

        Raises:
            ValueError: the array is not one of plain numbers, or has too many dimensions.
        """
        if array.dtype.kind not in _KINDS or array.ndim > _MAX_DIMENSIONS:
            raise ValueError(f"the cache cannot hold {array.dtype} of {array.ndim} dimensions")
        try:
            if self._reserve(_OVERHEAD + array.nbytes):
                _write(self._path(namespace, key), f"{namespace}\0{key}", array)
        except OSError as error:
            self._stop(error)

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[Array | None]:
        """Return what `get` returns for each key; several threads read at once, which a cold disk rewards."""
        found: list[Array | None] = [None] * len(keys)

        def read_every_nth(first: int) -> None:
            for index in range(first, len(keys), _THREADS):
                found[index] = self.get(namespace, keys[index])

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(read_every_nth, range(min(_THREADS, len(keys)))))
        return found

    def put_many(self, namespace: str, keys: Sequence[str], arrays: Iterable[Array]) -> None:
        """Keep one array per key; one after the other, since writing does not gain from threads."""
        for key, array in zip(keys, arrays, strict=True):
            self.put(namespace, key, array)

    def take_statistics(self) -> CacheStatistics:
        """Return the count of reads since the last call, and begin a new one."""
        with self._lock:
            found = CacheStatistics(self._hits, self._misses)
            self._hits = self._misses = 0
        return found

    def _path(self, namespace: str, key: str) -> Path:
        name = hashlib.blake2b(f"{namespace}\0{key}".encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / name[2:]

    def _reserve(self, size: int) -> bool:
        """Make room for an entry of this many bytes; return whether it may be written."""
        with self._lock:
            if not self._is_writing:
                return False
            if size > self._room:
                self._room = self._scan(size)
            fits = size <= self._room
            self._room -= size if fits else 0
            return fits

    def _scan(self, size: int) -> int:
        """Drop the oldest entries if the limit asks for it; return the bytes that may be written now."""
        self._folder.mkdir(parents=True, exist_ok=True)
        entries = _entries(self._folder)
        total = sum(entry.size for entry in entries)
        limit = min(self._limit, (shutil.disk_usage(self._folder).free + total) // 2)
        if size > limit:
            return 0
        if total + size > limit:
            target = min(int(_FILL * limit), limit - size)
            for entry in sorted(entries, key=lambda entry: entry.used):
                if total <= target:
                    break
                _remove(entry.path)
                total -= entry.size
        return max(size, min(limit - total, int(_SCAN_SHARE * limit)))

    def _stop(self, error: OSError) -> None:
        with self._lock:
            was_writing, self._is_writing = self._is_writing, False
        if was_writing:
            _LOG.warning("cache %s: %s; nothing more is cached in this run", self._folder, error.strerror)


@dataclass(frozen=True)
class _Entry:
    path: Path
    size: int  # bytes
    used: float  # time of the last use, in seconds since 1970


def _entries(folder: Path) -> list[_Entry]:
    """List the entries, and remove what killed writers have left."""
    found = []
    abandoned = time.time() - _TEMPORARY_SECONDS
    for shard in folder.glob("??"):
        with contextlib.suppress(FileNotFoundError), os.scandir(shard) as files:
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    status = file.stat()
                    if not file.name.endswith(_TEMPORARY):
                        found.append(_Entry(Path(file.path), status.st_size, status.st_mtime))
                    elif status.st_mtime < abandoned:
                        _remove(Path(file.path))
    return found


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _checksum(name: str, header: bytes, payload: memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(header, zlib.crc32(name.encode())))


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _read(path: Path, name: str) -> Array:
    """Read an entry and mark it as used.

    Raises:
        OSError: it is missing or cannot be read.
        ValueError: it is not what was written under this name.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        start = file.read(_OVERHEAD)
        if len(start) < _OVERHEAD:
            raise ValueError("too short")
        (checksum,), header = _CHECKSUM.unpack_from(start), start[_CHECKSUM.size :]
        array = _allocate(header, status.st_size - _OVERHEAD)
        payload = _bytes(array)
        file.readinto(payload)
    if _checksum(name, header, payload) != checksum:
        raise ValueError("wrong checksum")
    if time.time() - status.st_mtime > _TOUCH_SECONDS:
        with contextlib.suppress(OSError):
            os.utime(path)
    return array


def _allocate(header: bytes, num_bytes: int) -> Array:
    """Return an empty array for a payload of this size, after checking that the header can be true."""
    magic, dtype_name, dimensions, *sizes = _HEADER.unpack(header)
    shape = tuple(sizes[:dimensions])
    try:
        dtype = np.dtype(dtype_name.rstrip(b"\0").decode())
    except TypeError as error:
        raise ValueError("unknown type") from error
    if magic != _MAGIC or dtype.kind not in _KINDS or math.prod(shape) * dtype.itemsize != num_bytes:
        raise ValueError("another header or size")
    return np.empty(shape, dtype)


def _write(path: Path, name: str, array: Array) -> None:
    """Write an entry beside its place and move it there, so that a reader sees it whole or not at all."""
    payload = _bytes(np.ascontiguousarray(array))
    sizes = array.shape + (0,) * (_MAX_DIMENSIONS - array.ndim)
    header = _HEADER.pack(_MAGIC, array.dtype.str.encode(), array.ndim, *sizes)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(_CHECKSUM.pack(_checksum(name, header, payload)) + header)
            file.write(payload)
        temporary.replace(path)
    except OSError:
        _remove(temporary)
        raise
