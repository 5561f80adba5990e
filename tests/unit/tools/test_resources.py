import subprocess
import sys
from pathlib import Path

import torch

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


def test_the_cpu_has_no_gpu_memory() -> None:
    assert peak_gpu_memory_mb(torch.device("cpu")) is None
