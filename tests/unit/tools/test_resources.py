import numpy as np
import torch

from tools.resources import peak_gpu_memory_mb, peak_memory_mb, reset_peak_memory

CPU = torch.device("cpu")


def test_the_peak_holds_memory_that_was_given_back() -> None:
    reset_peak_memory(CPU)
    before = peak_memory_mb()
    np.ones(100 * 2**17).sum()  # 100 MiB
    assert 90 < peak_memory_mb() - before < 200


def test_the_cpu_has_no_gpu_memory() -> None:
    assert peak_gpu_memory_mb(CPU) is None
