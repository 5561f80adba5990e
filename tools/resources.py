"""The memory of this process: what it may keep, and its peak since a moment of choice, on the GPU as well."""

import contextlib
import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from configuration.errors import UserError

_KIBIBYTES = 2**10  # in a mebibyte
_MEBIBYTE = 2**20
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"  # what the kernel wants to read in clear_refs, see proc(5)
_TRIM_THRESHOLD = -1  # the parameters of mallopt(3)
_MMAP_MAX = -4
_KEPT_BYTES = 256 * _MEBIBYTE


@contextlib.contextmanager
def naming_what_takes_memory() -> Iterator[None]:
    """Turn an allocation that fails into one line that says which keys to lower.

    Raises:
        UserError: the memory of the machine or of the GPU is not enough.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_of_torch = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not is_of_torch and not isinstance(error, MemoryError):
            raise
        found = re.search(r"allocate [\d.]+ ?(bytes|[KMGT]i?B)", str(error))
        wanted = f" (cannot {found[0]})" if found else ""
        raise UserError(
            f"out of memory{wanted}; lower train_batch_size, valid_batch_size, data_size with its crop, "
            "or data_memory_mb and feature_memory_mb"
        ) from error


def keep_freed_memory() -> None:
    """Let glibc's allocator reuse the memory of freed tensors, and keep up to 256 MiB of it at hand.

    Left alone it gives large blocks back at once: every layer of a net waits for the kernel to clear new
    pages. Other C libraries stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)


def reset_peak_memory(device: torch.device) -> None:
    """Begin to measure anew; where the kernel forbids it, the process's peak stays that of its life."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb() -> float:
    """Return the largest resident size of this process, in MiB; where no system tells it, that of now."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) / _KIBIBYTES
    import psutil  # here, as Linux tells without it

    now = psutil.Process().memory_info()
    return getattr(now, "peak_wset", now.rss) / _MEBIBYTE  # the former on Windows


def peak_gpu_memory_mb(device: torch.device) -> float | None:
    """Return the most memory that tensors held on the GPU, in MiB; None on the CPU."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / _MEBIBYTE
