import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from configuration.errors import UserError
from tools import resources
from tools.resources import peak_gpu_memory_mb

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import numpy as np
from tools.resources import peak_memory_mb
before = peak_memory_mb()
held = np.ones(100 * 2**17)  # 100 MiB
del held
print(before, peak_memory_mb())
"""


def test_the_peak_holds_memory_that_was_given_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, check=True, capture_output=True, text=True
    )  # in a process of its own, whose peak no other test has raised
    before, after = map(float, done.stdout.split())
    assert 10 < before < 1000
    assert 90 < after - before < 200


REUSE = """
import resource
import torch
from tools.resources import keep_freed_memory
def pages_of_ten_tensors():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = pages_of_ten_tensors()
keep_freed_memory()
pages_of_ten_tensors()  # the first ones grow the heap
print(plain, pages_of_ten_tensors())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", REUSE], cwd=ROOT, check=True, capture_output=True, text=True)
    plain, kept = map(int, done.stdout.split())
    assert kept * 10 < plain


def test_the_cpu_has_no_gpu_memory() -> None:
    assert peak_gpu_memory_mb(torch.device("cpu")) is None


def test_other_systems_tell_the_memory_by_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    by_linux = resources.peak_memory_mb()
    monkeypatch.setattr(resources, "_STATUS", Path("/none"))
    assert 0.3 * by_linux < resources.peak_memory_mb() <= 1.1 * by_linux


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "out of memory; lower train_batch_size"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 24.00 GiB. GPU 0"),
            "cannot allocate 24.00 GiB",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
            "allocate 99 bytes",
        ),
    ],
)
def test_an_allocation_that_fails_names_what_to_lower(error: Exception, line: str) -> None:
    with pytest.raises(UserError, match=line), resources.naming_what_takes_memory():
        raise error
    with pytest.raises(RuntimeError, match="another"), resources.naming_what_takes_memory():
        raise RuntimeError("another")
