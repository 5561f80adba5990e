"""`memory_limit_mb` holds for 2000 images that would take more without it."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES = 2000
SIDE = 128  # pixels
LIMIT = 1500  # MiB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of noise that hardly differs from image to image."""
    root = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    for split, count in (("train/good", NUM_IMAGES), ("test/good", 4), ("test/bad", 4)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            shifted = np.roll(pixels, int(rng.integers(SIDE)), axis=0)
            Image.fromarray(shifted).save(root / split / f"{number}.bmp")
    return root


def peak_memory_mb(folder: Path, work_dir: Path, *words: str) -> float:
    fixed = "-v -n net_tiny -d folder -g cpu --no-vis -m padim --set _num_features=50"
    command = [sys.executable, "main.py", *fixed.split()]
    size = ["--set", f"data_size={SIDE}", "--set", f"data_crop_size={SIDE}"]
    where = ["-dp", str(folder), "-wd", str(work_dir)]
    subprocess.run([*command, *size, *where, *words], cwd=ROOT, check=True, capture_output=True)
    with (work_dir / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert int(row["n_train"]) == NUM_IMAGES
    return float(row["peak_memory_mb"])


def test_the_limit_holds_for_2000_images(folder: Path, tmp_path: Path) -> None:
    limited = peak_memory_mb(folder, tmp_path / "limited", "--set", f"memory_limit_mb={LIMIT}")
    assert limited < LIMIT < peak_memory_mb(folder, tmp_path / "free", "--no-cache")
